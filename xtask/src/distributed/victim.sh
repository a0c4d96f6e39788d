#!/bin/sh
# Stands before the tool as `roundwise`: counts how often each part is begun, and kills one of them once
# its journal holds a layer. For `cargo xtask distributed`, which sets
#
# TOOL     the tool itself
# ATTEMPTS a folder for the counts
# VICTIM   the number of the part that is killed, the first time
# KILLS    `tool`, or `parent` for the process that began it as well
for word; do
    [ "$before" = --part ] && part=$word
    [ "$before" = -o ] && output=$word
    before=$word
done
case $part in
'') exec "$TOOL" "$@" ;;
auto/*) number=${SLURM_ARRAY_TASK_ID:-$((JOB_COMPLETION_INDEX + 1))} ;;
*) number=${part%/*} ;;
esac
count=${part#*/}
echo begun >>"$ATTEMPTS/$number"
if [ "$number" != "$VICTIM" ] || [ "$(wc -l <"$ATTEMPTS/$number")" != 1 ]; then
    exec "$TOOL" "$@"
fi
width=${#count}
name=$(basename "$output" .safetensors).part-$(printf "%0${width}d" "$number")-of-$count.safetensors
finished=$(dirname "$output")/$name
journal=$(dirname "$output")/.$name.journal
for attempt in 1 2 3 4 5 6 7 8; do
    "$TOOL" "$@" &
    tool=$!
    # While it stands still, nothing can be removed between the look and the blow.
    while kill -STOP $tool 2>/dev/null; do
        if [ -f "$journal" ] && [ "$(wc -l <"$journal")" -ge 2 ]; then
            cp "$journal" "$ATTEMPTS/journal"
            kill -9 $tool
            [ "$KILLS" = parent ] && kill -9 $PPID
            exit 137
        fi
        kill -CONT $tool
        sleep 0.01
    done
    # It ended between two looks: once more, from nothing.
    wait $tool || exit
    rm "$finished"
done
echo "part $VICTIM ended before each look at its journal" >&2
exit 1
