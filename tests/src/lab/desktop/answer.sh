# Runs the script that comes as standard input; its exit code, how long its standard output is, that, and its standard error.
directory=$(mktemp -d)
cat >"$directory/script"
/bin/sh "$directory/script" >"$directory/stdout" 2>"$directory/stderr" </dev/null
echo $?
wc -c <"$directory/stdout"
cat "$directory/stdout" "$directory/stderr"
rm -r "$directory"
