const BROWSERS = [
  [/\bEdg(?:A|iOS)?\/(\d+)/, 'Edge'],
  [/\bOPR\/(\d+)/, 'Opera'],
  [/\b(?:Firefox|FxiOS)\/(\d+)/, 'Firefox'],
  [/\b(?:HeadlessChrome|Chrome|CriOS)\/(\d+)/, 'Chrome'],
  [/\bVersion\/(\d+)\S* .*\bSafari\//, 'Safari'],
  [/^curl\/(\d+)/, 'curl'],
];

const SYSTEMS = [
  [/\biPhone\b/, 'iPhone'],
  [/\biPad\b/, 'iPad'],
  [/\bAndroid\b/, 'Android'],
  [/\bWindows\b/, 'Windows'],
  [/\bMac OS X\b/, 'macOS'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bLinux\b/, 'Linux'],
];

/** Describes a user agent in words, for example `Firefox 148 on Windows`. */
export function browserOf(userAgent) {
  if (!userAgent) return 'Unknown program';
  const [pattern, name] = BROWSERS.find(([known]) => known.test(userAgent)) ?? [];
  const system = SYSTEMS.find(([known]) => known.test(userAgent))?.[1];
  const browser = name ? `${name} ${pattern.exec(userAgent)[1]}` : userAgent.split('/', 1)[0].slice(0, 40);
  return system ? `${browser} on ${system}` : browser;
}

/** The name of a device, or the name of its browser if the user gave the device no name. */
export const nameOf = ({ name, userAgent }) => name ?? browserOf(userAgent);

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const moment = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

/** A time relative to now, for example `3 minutes ago`. */
export function ago(time) {
  const elapsedMs = Date.now() - Date.parse(time);
  const [unit, unitMs] = UNITS.find(([, ms]) => elapsedMs >= ms) ?? [];
  return unit ? relative.format(-Math.floor(elapsedMs / unitMs), unit) : 'just now';
}

/** A time of day, for example `14:05:09`. */
export const clockTime = (timeMs) => clock.format(timeMs);

/** A date with time, for example `25 Nov, 14:05`. */
export const dayTime = (time) => moment.format(new Date(time));

/** A duration as `59:07`, or as `2:59:07` if it is longer than 99 minutes. */
export function countdown(ms) {
  const seconds = Math.ceil(ms / 1000);
  const padded = (number) => String(number).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const leading = minutes > 99 ? `${Math.floor(minutes / 60)}:${padded(minutes % 60)}` : minutes;
  return `${leading}:${padded(seconds % 60)}`;
}
