/**
 * Asks once for all who ask the same in one turn of the event loop: a thousand requests that miss together
 * would otherwise send a thousand commands before the first of them could load.
 * Nobody gets an answer that was asked for before something he knows of: between one turn's questions no answer can arrive.
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
