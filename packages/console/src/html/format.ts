import { html, type Html } from './html.ts'

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

/** A number for people: `12,400`, `0.37`. */
export function number (value: number): string {
  return Math.abs(value) >= 100 ? whole.format(value) : short.format(value)
}

/** Milliseconds for people: `840 ms`, `12.5 s`. */
export function milliseconds (value: number): string {
  return value < 1_000 ? `${number(value)} ms` : `${number(value / 1_000)} s`
}

/** A moment in UTC, so that two operators read the same: `2026-11-30 03:12:44Z`. */
export function moment (at: Date): Html {
  const iso = at.toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')}Z</time>`
}

/** How far away a moment is: `in 3 days`, `2 minutes ago`. */
export function distance (at: Date, now: number = Date.now()): string {
  const ms = at.getTime() - now
  const [unit, size] = ([['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000]] as const)
    .find(([, size]) => Math.abs(ms) >= size) ?? ['second', 1_000]
  return new Intl.RelativeTimeFormat('en', { numeric: 'always' }).format(Math.trunc(ms / size), unit)
}

const tones: Readonly<Record<string, string>> = {
  ok: 'good',
  active: 'good',
  closed: 'good',
  degraded: 'warn',
  stale: 'warn',
  suspended: 'warn',
  provisioning: 'warn',
  'half-open': 'warn',
  warning: 'warn',
  down: 'bad',
  open: 'bad',
  deleting: 'bad',
  error: 'bad',
  deleted: 'quiet',
  info: 'quiet'
}

/** A state as a word in a coloured frame. The word alone says it, so that colour is not needed. */
export function badge (state: string): Html {
  return html`<span class="badge ${tones[state] ?? 'quiet'}">${state}</span>`
}
