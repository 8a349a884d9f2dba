/** How often a {@link Throttle} acts. */
interface ThrottleSettings {
  /** Consecutive calls that act at once. */
  readonly burst: number
  /** Milliseconds between two actions after that. */
  readonly everyMs: number
}

/**
 * Bounds how often an idempotent action runs if callers request it without end. The first calls act
 * at once; later ones are merged into one action per interval. No call is lost, because an action
 * follows each call.
 */
export class Throttle {
  readonly #act: () => void
  readonly #settings: ThrottleSettings
  readonly #now: () => number
  #left: number
  #countedAt: number
  #timer: NodeJS.Timeout | undefined

  constructor (act: () => void, settings: ThrottleSettings, now: () => number = () => performance.now()) {
    this.#act = act
    this.#settings = settings
    this.#now = now
    this.#left = settings.burst
    this.#countedAt = now()
  }

  call (): void {
    if (this.#timer !== undefined) return
    const { burst, everyMs } = this.#settings
    const now = this.#now()
    this.#left = Math.min(burst, this.#left + (now - this.#countedAt) / everyMs)
    this.#countedAt = now
    if (this.#left >= 1) {
      this.#left--
      this.#act()
      return
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.call()
    }, Math.ceil((1 - this.#left) * everyMs)).unref()
  }

  /** Drops the pending action. */
  stop (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
