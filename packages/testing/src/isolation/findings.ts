/** One leak. */
interface Leak {
  /** `'GET /projects/:id'`, `'table projects'`, `'cache'`. */
  readonly where: string
  /** The request or statement. */
  readonly request: string
  /** What the attacker learned or changed. */
  readonly what: string
}

/** Counts of one route, table or store. */
interface Tried {
  readonly name: string
  requests: number
  /** How often a handler ran, or a statement was not refused. */
  reached: number
  leaks: number
  /** Why it could not be tested; undefined if it was tested. */
  problem: string | undefined
  note: string
}

/** Parts in which two leaks of one kind differ: ids, texts of the kit, numbers. */
const variable = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\S*k[av][0-9a-f]{6}x\w*|\d+/g

/** Maximum number of leaks kept per route. More of them give no new information. */
const maxPerPlace = 8

/** Collects leaks, and counts tests. */
export class Findings {
  readonly leaks: Leak[] = []
  readonly #tried = new Map<string, Tried>()
  readonly #seen = new Set<string>()

  /** Returns the row of a place in the final table. */
  of (name: string): Tried {
    const known = this.#tried.get(name)
    if (known !== undefined) return known
    const line: Tried = { name, requests: 0, reached: 0, leaks: 0, problem: undefined, note: '' }
    this.#tried.set(name, line)
    return line
  }

  get tried (): readonly Tried[] {
    return [...this.#tried.values()]
  }

  get notTried (): readonly Tried[] {
    return this.tried.filter(({ problem }) => problem !== undefined)
  }

  leak (finding: Leak): void {
    const line = this.of(finding.where)
    const isRoute = finding.where.includes('/')
    const text = isRoute ? finding.what : `${finding.request} ${finding.what}`
    const key = `${finding.where} ${text.replaceAll(variable, '')}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    line.leaks++
    if (line.leaks <= maxPerPlace) this.leaks.push(finding)
  }
}
