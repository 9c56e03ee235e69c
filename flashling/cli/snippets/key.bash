# flashling: Alt-@KEY@ turns the typed line into a command and never runs it; again for another one
__flashling_more=()
__flashling_key() {
  local line=$READLINE_LINE out
  [[ $line == *[![:space:]]* ]] || return 0
  if [[ $line == "${__flashling_last-}" ]] && ((${#__flashling_more[@]})); then
    __flashling_more+=("$line")
    line=${__flashling_more[0]}
    __flashling_more=("${__flashling_more[@]:1}")
  else
    printf 'flashling ...' >/dev/tty
    out=$(@FLASHLING@ suggest --count 3 --no-explain -- "$line" 2>&1 </dev/null)
    local failed=$?
    printf '\r\e[K' >/dev/tty
    if ((failed)); then
      printf '%s\n' "$out" >/dev/tty
      return 0
    fi
    mapfile -t __flashling_more <<<"$out"
    line=${__flashling_more[0]}
    __flashling_more=("${__flashling_more[@]:1}")
  fi
  @FLASHLING@ explain -- "$line" >/dev/tty 2>&1 </dev/null
  ((${#__flashling_more[@]})) && printf '(Alt-@KEY@: %s)\n' "${__flashling_more[0]}" >/dev/tty
  READLINE_LINE=$line
  READLINE_POINT=${#line}
  __flashling_last=$line
}
bind -m emacs-standard -x '"\e@KEY@": __flashling_key'
bind -m vi-insert -x '"\e@KEY@": __flashling_key'
