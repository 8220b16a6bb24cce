#!/usr/bin/env bash
# The same thermostat in a shell, with mosquitto_pub and mosquitto_sub (on Debian: apt-get install mosquitto-clients).
#
#   thermostat.sh [HOST[:PORT]] [DEVICE] [SECONDS]      default: 127.0.0.1:1883 default/attic 1
#
# Temperatures are whole tenths here: a shell has no fractions.
set -u
broker=${1:-127.0.0.1:1883} device=${2:-default/attic} every=${3:-1}
host=${broker%%:*} port=1883
[ "$host" = "$broker" ] || port=${broker##*:}
topic=\$hw/events/device/$device
temp= target= heating=false ask=0

say() { echo "$*" >&2; }
tenths() { awk -v value="$1" 'BEGIN { printf "%d", value * 10 + (value < 0 ? -0.5 : 0.5) }'; }
degrees() { awk -v value="$1" 'BEGIN { printf "%.1f", value / 10 }'; }

# A message to edgehub. The broker keeps it while edgehub is away; while the broker is away it is lost: there is a newer one soon.
send() { mosquitto_pub -h "$host" -p "$port" -q 1 -t "$topic/$1" -m "$2" 2>/dev/null; }
report() { send twin/update "{\"twin\":{$1}}"; }
half() { printf '"%s":{"actual":{"value":"%s"}}' "$1" "$2"; }

# What a payload holds, or nothing: its members stand in the order that edgehub writes them in.
wanted_now() { sed -n 's/.*"delta":{[^}]*"target":"\([^"]*\)".*/\1/p'; }
wanted() { sed -n 's/.*"target":{"expected":{"value":"\([^"]*\)".*/\1/p'; }
measured() { sed -n 's/.*"temp":{"actual":{"value":"\([^"]*\)".*/\1/p'; }

aim() {
  [ -n "$1" ] || return 0
  local new
  new=$(tenths "$1")
  [ "$new" = "$target" ] || say "$1 °C are wanted"
  target=$new
  # Also when it is no news: a delta says that the twin does not know yet.
  report "$(half target "$1")"
}

hear() {
  case $1 in
    */twin/update/delta) aim "$(wanted_now <<<"$2")" ;;
    */twin/get/result)
      case $2 in *'"code":'*) say "refused: $2"; return ;; esac
      local last
      last=$(measured <<<"$2")
      if [ -z "$temp" ]; then
        temp=$(tenths "${last:-15}")
        [ -z "$last" ] && say "it is new" || say "it was $last °C last"
      fi
      aim "$(wanted <<<"$2")"
      ;;
    *) case $2 in *'"code":'*) say "refused: $2" ;; esac ;;
  esac
}

# One second in the room.
step() {
  [ "$temp" -ge $((target - 1)) ] || heating=true
  [ "$temp" -le $((target + 1)) ] || heating=false
  if [ $heating = true ]; then temp=$((temp + 3)); else temp=$((temp - 1)); fi
}

tick() {
  if [ -n "$target" ] && [ -n "$temp" ]; then
    step
    report "$(half temp "$(degrees $temp)"),$(half heating $heating)"
  elif [ $((ask++ % 5)) = 4 ]; then
    send twin/get '{}' # edgehub may come later than we do
  fi
}

# The broker keeps the session (-c -i): what is desired while this program is not there waits for it. It connects again by itself, and
# dies with this shell, so that the broker says that nobody is there.
listen() {
  exec setpriv --pdeathsig KILL mosquitto_sub -h "$host" -p "$port" -c -i "thermostat-${device//\//-}" -q 1 -k 15 -F '%t %p' \
    -t "$topic/twin/get/result" -t "$topic/twin/update/delta" -t "$topic/twin/update/result" \
    --will-topic "$topic/state/update" --will-payload '{"state":"offline"}' --will-qos 1 2>/dev/null
}

trap 'kill $listener 2>/dev/null; send state/update "{\"state\":\"offline\"}"; exit 0' INT TERM
while :; do
  exec 3< <(listen)
  listener=$!
  send state/update '{"state":"online"}' && say "at the broker"
  send twin/get '{}'
  while :; do
    if read -r -t "$every" -u 3 to what; then
      hear "$to" "$what"
    elif [ $? -gt 128 ]; then
      tick # nothing was said for a while
    else
      break # nobody is there
    fi
  done
  wait $listener 2>/dev/null
  say "the broker is not there; it is tried again"
  sleep 1
done
