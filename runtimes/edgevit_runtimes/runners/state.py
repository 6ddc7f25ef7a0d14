"""What a device says of itself, before a repeat is measured: its cores, clocks and temperature."""

import subprocess
import sys

from edgevit_runtimes.runners.shell import Shell

# One POSIX shell script, which busybox and toybox run too; a line is a key, a tab and a value.
PROBE = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
say machine "$(uname -m)"
say system "$(uname -sr)"
say cores "$(grep -c ^processor /proc/cpuinfo)"
grep '^CPU part' /proc/cpuinfo | sort -u | while read -r _ _ _ part; do say cpu_part "$part"; done
say load_average "$(cut -d ' ' -f 1-3 /proc/loadavg)"
say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
say available_kib "$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
  [ -r "$f/scaling_governor" ] && say governor "$(cat "$f/scaling_governor")"
  [ -r "$f/scaling_cur_freq" ] && say frequency_khz "$(cat "$f/scaling_cur_freq")"
  [ -r "$f/scaling_max_freq" ] && say most_khz "$(cat "$f/scaling_max_freq")"
done
for z in /sys/class/thermal/thermal_zone[0-9]*; do
  [ -r "$z/temp" ] && say thermal_zone "$(cat "$z/type" 2>/dev/null) $(cat "$z/temp" 2>/dev/null)"
done
if command -v getprop >/dev/null 2>&1; then
  say model "$(getprop ro.product.manufacturer) $(getprop ro.product.model)"
  say android "$(getprop ro.build.version.release)"
fi
if command -v dumpsys >/dev/null 2>&1; then
  battery=$(dumpsys battery)
  say battery_level "$(printf '%s\n' "$battery" | sed -n 's/^ *level: //p')"
  say battery_tenths "$(printf '%s\n' "$battery" | sed -n 's/^ *temperature: //p')"
  say thermal_status "$(dumpsys thermalservice | sed -n 's/^Thermal Status: //p')"
fi
true
"""
MANY = ("cpu_part", "governor", "frequency_khz", "most_khz", "thermal_zone")
WHOLE = ("cores", "memory_kib", "available_kib", "battery_level", "thermal_status")
LOCAL_SECS = 10.0
PLAUSIBLE_C = (-40.0, 150.0)  # zones report nonsense where no sensor is


def read_state(shell: Shell) -> dict[str, object]:
    """The device's own words; JSON values only, and None for what it does not tell.

    Keys: machine, system, cores, cpu_parts, load_average, memory_kib, available_kib, governors,
    frequencies_mhz, most_mhz (one a core), temperature_c (of the battery on a phone, otherwise of
    the warmest zone), model, android, battery_level, thermal_status. Raises `DeviceFailed` where
    the device is lost.
    """
    return parse_state(shell.run(PROBE).out)


def local_state() -> dict[str, object] | None:
    """The same of this machine; None off Linux, and where its shell does not tell. Never raises."""
    if sys.platform != "linux":
        return None
    try:
        done = subprocess.run(
            ["sh", "-c", PROBE], capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=LOCAL_SECS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_state(done.stdout) if done.returncode == 0 else None


def parse_state(text: str) -> dict[str, object]:
    """What `PROBE` printed; see `read_state`."""
    one: dict[str, str] = {}
    many: dict[str, list[str]] = {name: [] for name in MANY}
    for line in text.splitlines():
        name, tab, value = line.partition("\t")
        value = value.strip()
        if tab and value and name in many:
            many[name].append(value)
        elif tab and value:
            one[name] = value
    state: dict[str, object] = {
        name: one.get(name) for name in ("machine", "system", "load_average", "model", "android")
    }
    state |= {name: _whole(one.get(name)) for name in WHOLE}
    state["cpu_parts"] = many["cpu_part"]
    state["governors"] = sorted(set(many["governor"]))
    state["frequencies_mhz"] = [_mhz(value) for value in many["frequency_khz"]]
    state["most_mhz"] = [_mhz(value) for value in many["most_khz"]]
    state["temperature_c"] = _temperature(one.get("battery_tenths"), many["thermal_zone"])
    return state


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _mhz(text: str) -> float | None:
    return int(text) / 1000 if text.isdigit() else None


def _temperature(battery: str | None, zones: list[str]) -> float | None:
    if battery is not None and battery.lstrip("-").isdigit():
        return int(battery) / 10
    degrees = []
    for zone in zones:
        text = zone.rpartition(" ")[2]
        if text.lstrip("-").isdigit():
            degrees.append(int(text) / 1000)
    plausible = [value for value in degrees if PLAUSIBLE_C[0] < value < PLAUSIBLE_C[1]]
    return max(plausible, default=None)
