# Looks at a host without changing it, in one round trip and without Python, which may be missing.
# Words: home-of-the-stamp "accounts" "account:python ..." "ports". Prints lines "key=value ...".
stamp=$1 accounts=$2 pythons=$3 ports=$4
if [ -r /etc/os-release ]; then . /etc/os-release; echo "os=$ID ${VERSION_ID:-?}"; fi
[ -d /run/systemd/system ] && echo "systemd=yes"
echo "uid=$(id -u)"
command -v python3 >/dev/null && echo "interpreter=$(command -v python3)"
[ -r "$stamp/stamp" ] && echo "stamp=$(head -n 1 "$stamp/stamp")" && sed '1d; s/^/known=/' "$stamp/stamp"
[ -r "$stamp/tls/until" ] && [ "$(cat "$stamp/tls/until")" -lt "$(date +%s)" ] && echo "ended=a certificate"
[ -r "$stamp/run/supervisord.pid" ] && grep -qs supervisord "/proc/$(cat "$stamp/run/supervisord.pid")/cmdline" && echo "supervisord=yes"
for account in $accounts; do
  echo "account=$account $(getent passwd "$account" | awk -F: '{ print $3, $6, $5 }')"
done
# An interpreter may lie in the home of its account, who may change it: root has the account run it, or nobody.
as() {
  [ "$(id -u)" = 0 ] && [ "$1" != - ] || { shift && exec "$@"; }
  ids=$(getent passwd "$1" || getent passwd nobody) && shift && ids=${ids#*:*:} && gid=${ids#*:}
  exec setpriv --reuid="${ids%%:*}" --regid="${gid%%:*}" --clear-groups -- "$@"
}
for python in $pythons; do
  account=${python%%:*} python=${python#*:}
  path=$(command -v "$python") && version=$(cd / && as "$account" "$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) &&
    echo "python=$python $version"
done
for port in $ports; do
  inode=$(awk -v port="$(printf ':%04X' "$port")" '$4 == "0A" && index($2, port) == length($2) - 4 { print $10; exit }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  [ -n "$inode" ] || continue
  pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null |
    awk -v socket="socket:[$inode]" '/^\/proc/ { split($1, part, "/") } $NF == socket { print part[3]; exit }')
  echo "port=$port ${pid:-?} $(cat "/proc/$pid/comm" 2>/dev/null || echo '?') $(readlink "/proc/$pid/cwd" 2>/dev/null)"
done
:
