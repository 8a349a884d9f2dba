/**
 * Shares one request among all callers that ask the same within one event-loop tick. Otherwise a
 * thousand concurrent misses would send a thousand commands before the first load.
 *
 * No reply is processed within a tick, so no caller can already know of a state newer than the
 * request it joins.
 */
export class SameTick<T> {
  readonly #asked = new Map<string, Promise<T>>()

  ask (question: string, send: () => Promise<T>): Promise<T> {
    const asked = this.#asked.get(question)
    if (asked !== undefined) return asked
    if (this.#asked.size === 0)
      queueMicrotask(() => {
        this.#asked.clear()
      })
    const answer = send()
    this.#asked.set(question, answer)
    return answer
  }
}
