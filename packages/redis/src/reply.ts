/**
 * The kind of an error reply. Redis begins an error reply with a word in capitals, which decides
 * the kind:
 * - outage: Redis serves no command at present. The circuit breaker counts it.
 * - refusal: Redis answers, but refuses this command or this login. The breaker does not count it.
 * - mistake: The command itself is wrong. The caller gets ioredis' own error.
 */
export type Judgement = 'outage' | 'refusal' | 'mistake'

const outage = /^(?:LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY)\b/
const mistake = /^(?:ERR|WRONGTYPE|CROSSSLOT|NOSCRIPT|EXECABORT|BUSYKEY|NOGROUP|UNKILLABLE|NOTBUSY)\b/
/** Refusals without a word of their own. */
const unnamedRefusal = new RegExp(
  ['unknown command', 'unknown subcommand', 'max number of clients', 'not permitted', 'not allowed',
    'invalid password', 'AUTH', "can't run this command", 'permission'].join('|'),
  'i'
)

/** Whether Redis itself sent this error. */
export function isReply (error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError'
}

/** Returns the kind of an error reply. */
export function judge (reply: Error): Judgement {
  const { message } = reply
  if (outage.test(message)) return 'outage'
  if (!mistake.test(message)) return 'refusal'
  return message.startsWith('ERR ') && !message.includes('user_script:') && unnamedRefusal.test(message)
    ? 'refusal'
    : 'mistake'
}

/**
 * Returns why a command or a connection failed, in one word: the first word of Redis' error
 * (`NOPERM`, `WRONGPASS`, `OOM`, `MOVED`, …), the code of a socket error (`ECONNREFUSED`),
 * `'timeout'` or `'unreachable'`.
 */
export function reasonOf (error: unknown): string {
  if (!(error instanceof Error)) return 'unreachable'
  const { code, lastNodeError } = error as Error & {
    readonly code?: unknown
    readonly lastNodeError?: unknown
  }
  if (lastNodeError instanceof Error) return reasonOf(lastNodeError)
  if (typeof code === 'string') return code
  const word = /^[A-Z]{3,}(?=\b)/.exec(error.message)?.[0]
  if (word !== undefined) return word
  return error.message.startsWith('no answer within') ? 'timeout' : 'unreachable'
}
