# shellcheck shell=bash
# Sourced. A program that is built with a feature that needs a library of this machine does not start without it, so the ordinary
# program comes back to where it is looked for, also where the build fails (`trap 'restore_ordinary FOLDER' EXIT`).
#
#   keep_ordinary FOLDER        keeps the ordinary program of a folder of cargo's
#   take_built FOLDER PROGRAM   moves what was built there to PROGRAM, and puts the ordinary one back
restore_ordinary() {
    [ ! -e "$1/memtrain-ordinary" ] || mv -f "$1/memtrain-ordinary" "$1/memtrain"
}
keep_ordinary() {
    rm -f "$1/memtrain-ordinary"
    [ ! -e "$1/memtrain" ] || ln "$1/memtrain" "$1/memtrain-ordinary"
}
take_built() {
    mv -f "$1/memtrain" "$2"
    restore_ordinary "$1"
}
