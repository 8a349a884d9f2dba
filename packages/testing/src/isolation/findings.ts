/** One leak, or one thing that could not be tried. */
export interface Leak {
  /** `'GET /projects/:id'`, `'table projects'`, `'cache'`. */
  readonly where: string
  /** The request or statement. */
  readonly request: string
  /** What the attacker learned or changed. */
  readonly what: string
}

/** What was tried on one route, table or store. */
export interface Tried {
  readonly name: string
  requests: number
  /** How often a handler ran, or a statement was not refused. */
  reached: number
  leaks: number
  /** Why it counts as not tried; undefined where it was. */
  problem: string | undefined
  note: string
}

/** What differs between two leaks of one kind: ids, texts of the kit, numbers. */
const variable = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\S*k[av][0-9a-f]{6}x\w*|\d+/g

/** Most leaks of one route that are kept: the rest says nothing new. */
const maxPerPlace = 8

/** Collects leaks, and counts what was tried. */
export class Findings {
  readonly leaks: Leak[] = []
  readonly #tried = new Map<string, Tried>()
  readonly #seen = new Set<string>()

  /** The line of a place in the final table. */
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
