// What Vite does, as far as the deploy is concerned: dist/assets with names that change with the content.
import fs from "node:fs";

fs.mkdirSync("dist/assets", { recursive: true });
fs.writeFileSync("dist/index.html", '<script type="module" src="assets/index-DiwrgTda.js"></script>\n');
fs.writeFileSync("dist/assets/index-DiwrgTda.js", 'document.title = "built";\n');
