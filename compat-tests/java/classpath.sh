# Sourced by `run` here and in ../curator.
# class_path POM FILE [MAVEN-OPTION...]: writes the class path of the POM's dependencies to FILE.
# Maven is asked once; the answer is kept beside its jars for as long as the POM stays the same.
class_path() {
    local pom=$1 file=$2
    shift 2
    local cache=${MEERKAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meerkat}/java-compat
    local key
    key=$( (cat "$pom"; echo "$@") | sha256sum | cut -c1-16)
    mkdir -p "$cache"
    (
        # Two runs at once must not fill the same repository.
        flock 9
        if ! jars_exist "$cache/$key.classpath"; then
            log=$cache/$key.log
            mvn -q -B -f "$pom" "$@" -Dmaven.repo.local="$cache/repository" \
                dependency:build-classpath -Dmdep.outputFile="$cache/$key.classpath" >"$log" 2>&1 ||
                { echo "cannot fetch the Java artifacts:"; tail -n 20 "$log"; exit 1; } >&2
        fi
        cp "$cache/$key.classpath" "$file"
    ) 9>"$cache/lock"
}

jars_exist() {
    [ -s "$1" ] || return 1
    local jar
    tr ':' '\n' <"$1" | while read -r jar; do [ -s "$jar" ] || return 1; done
}
