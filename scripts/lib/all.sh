# shellcheck shell=bash
# All of this folder, in the order of what needs what.

# shellcheck source-path=SCRIPTDIR
lib=$(dirname "${BASH_SOURCE[0]}")
. "$lib/common.sh"
. "$lib/debian.sh"
. "$lib/engine.sh"
. "$lib/static.sh"
. "$lib/images.sh"
. "$lib/tests.sh"
. "$lib/matrix.sh"
. "$lib/lanes.sh"
. "$lib/delivery.sh"
. "$lib/monitoring.sh"
. "$lib/kubernetes.sh"
unset lib
