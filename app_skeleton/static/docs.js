// Starts Swagger UI; the page's policy allows no script inside the page itself.
SwaggerUIBundle({
  url: document.documentElement.dataset.spec,
  dom_id: "#docs",
  deepLinking: true,
});
