#!/bin/sh
# Says whether the backups are healthy: one line of reason, exit status 0 or 1. `--json`: the same with all figures.
#
# For Docker's health check: it looks at the files in BACKUP_DIR, imports neither Airflow nor this package's libraries,
# and sends nothing. It reads BACKUP_DIR, BACKUP_TIMEZONE, BACKUP_MAX_AGE_HOURS, BACKUP_MIN_SIZE_MB, BACKUP_MAX_SIZE_MB.
set -u

# Where the package is: beside this script's folder (also through a link), otherwise on PYTHONPATH, as in containers.
own=$(readlink -f -- "$0" 2>/dev/null) || own=$0
folder=${own%/*}
roots=${folder%/*}:${PYTHONPATH:-}
program=
while [ -z "$program" ] && [ -n "$roots" ]; do
    root=${roots%%:*}
    case $roots in *:*) roots=${roots#*:} ;; *) roots= ;; esac
    if [ -n "$root" ] && [ -f "$root/include/backup/health.py" ]; then
        program=$root/include/backup/health.py
    fi
done
if [ -z "$program" ]; then
    echo "UNHEALTHY: $own finds no include/backup/health.py beside its folder or on PYTHONPATH"
    exit 1
fi

python=$root/.venv/bin/python
[ -x "$python" ] || python=$(command -v python3) || {
    echo "UNHEALTHY: no python3 on PATH"
    exit 1
}
# -I and -S: nothing of the environment or of site-packages is looked at, which is most of the time saved.
exec "$python" -I -S "$program" "$@"
