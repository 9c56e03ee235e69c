# flashling: Alt-@KEY@ turns the typed line into a command and never runs it; again for another one
typeset -ga __flashling_more=()
typeset -g __flashling_last=
__flashling_key() {
  emulate -L zsh
  [[ $BUFFER == *[![:space:]]* ]] || return 0
  local line=$BUFFER out note
  if [[ $line == "$__flashling_last" ]] && (( $#__flashling_more )); then
    __flashling_more+=("$line")
  else
    zle -R "flashling ..."
    if ! out=$(@FLASHLING@ suggest --count 3 --no-explain -- "$line" 2>&1 </dev/null); then
      zle -M -- "$out"
      return 0
    fi
    __flashling_more=("${(@f)out}")
  fi
  line=$__flashling_more[1]
  shift __flashling_more
  BUFFER=$line
  CURSOR=$#BUFFER
  __flashling_last=$line
  note=$(@FLASHLING@ explain -- "$line" 2>&1 </dev/null)
  (( $#__flashling_more )) && note+=$'\n'"(Alt-@KEY@: $__flashling_more[1])"
  zle -M -- "$note"
}
zle -N __flashling_key
bindkey -M emacs '\e@KEY@' __flashling_key
bindkey -M viins '\e@KEY@' __flashling_key
