/** The reply to one request. */
export interface CapturedReply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Whether the reply had not ended when the kit stopped waiting: server-sent events. */
  readonly isLive: boolean
}

/** Parts of a reply that change with time, and so reveal nothing about another tenant. */
const timely = new RegExp(
  [
    /^(?:date|age|connection|keep-alive|transfer-encoding|expires|retry-after|server-timing)$/,
    /reset|timing|response-time|request-?id|trace|^ratelimit$/
  ].map(({ source }) => source).join('|')
)

/**
 * Returns a reply as a flat list of parts: `status`, `header etag`, `body.projects[0].name`.
 *
 * @param noise texts that differ between requests anyway: sent values, the request's id
 */
export function partsOf (reply: CapturedReply, noise: readonly string[] = []): Map<string, string> {
  const parts = new Map([['status', String(reply.status)]])
  const clean = (text: string): string => noise.reduce((rest, each) => rest.replaceAll(each, '…'), text)
  for (const [name, value] of Object.entries(reply.headers)) {
    if (!timely.test(name) && (name !== 'content-length' || reply.body === ''))
      parts.set(`header ${name}`, clean(value))
  }
  const body = parse(reply)
  if (body === undefined) parts.set('body', clean(reply.body))
  else addParts(parts, 'body', body, clean)
  return parts
}

function parse ({ body, headers }: CapturedReply): unknown {
  if (!/json/.test(headers['content-type'] ?? '')) return undefined
  try {
    return JSON.parse(body) as unknown
  } catch {
    return undefined
  }
}

function addParts (
  parts: Map<string, string>,
  path: string,
  value: unknown,
  clean: (text: string) => string
): void {
  if (typeof value !== 'object' || value === null) {
    if (!/(?:request|req|trace)_?id$/i.test(path)) parts.set(path, clean(String(value)))
    return
  }
  if (Array.isArray(value)) parts.set(`${path}.length`, String(value.length))
  for (const [name, member] of Object.entries(value))
    addParts(parts, Array.isArray(value) ? `${path}[${name}]` : `${path}.${clean(name)}`, member, clean)
}

/** A part that was equal in all of `quiet` and differs now. */
export interface Difference {
  readonly part: string
  readonly before: string
  readonly now: string
}

/**
 * Returns the parts in which `now` breaks the pattern of `quiet`: equal values, or numbers that
 * grow by equal steps.
 *
 * @param hasTimes whether a time counts, such as Last-Modified. The caller must then exclude clocks
 */
export function differences (
  quiet: readonly Map<string, string>[],
  now: Map<string, string>,
  hasTimes = false
): Difference[] {
  const found: Difference[] = []
  const names = new Set([...quiet.flatMap(parts => [...parts.keys()]), ...now.keys()])
  for (const part of names) {
    const values = quiet.map(parts => parts.get(part))
    const value = now.get(part)
    const isTimed = [value, ...values].some(each => isTime(each ?? ''))
    if (isTimed && !hasTimes) continue
    const [first] = values
    const isBroken = values.every(each => each === first)
      ? value !== first
      : !isTimed && isJump(values, value)
    if (isBroken) found.push({ part, before: values.at(-1) ?? 'absent', now: value ?? 'absent' })
  }
  return found
}

// Whether one number left its steps: 'INV-7', 'INV-8', 'INV-9' and then 'INV-12'.
function isJump (values: readonly (string | undefined)[], now: string | undefined): boolean {
  const all = [...values, now].map(value => value?.split(/(\d{1,15})/))
  if (values.length < 3 || all.some(pieces => pieces === undefined || pieces.length !== all[0]?.length))
    return false
  return (all[0] ?? []).some((_, at) => {
    if (at % 2 === 0) return false
    if (all.some(pieces => pieces?.some((piece, place) => place % 2 === 0 && piece !== all[0]?.[place])))
      return false
    const numbers = all.map(pieces => Number(pieces?.[at]))
    const steps = numbers.slice(1).map((number, place) => number - (numbers[place] ?? 0))
    const quiet = steps.slice(0, -1)
    return Math.abs(quiet[0] ?? 0) < 1_000 && quiet.every(step => step === quiet[0]) &&
      steps.at(-1) !== quiet[0]
  })
}

/** Whether a text contains a time, or is one of this day in seconds or milliseconds. */
export function isTime (text: string): boolean {
  if (/\d{4}-\d\d-\d\d[T ]\d\d:\d\d|^\w{3}, \d\d \w{3} \d{4}/.test(text)) return true
  const number = Number(text)
  return Math.abs(number - Date.now()) < 864e5 || Math.abs(number * 1_000 - Date.now()) < 864e5
}
