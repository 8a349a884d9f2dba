// What happened in a run: calls of clients, faults, changes of tenants, samples, and the rows of
// the end. Times are milliseconds of performance.now().

/** What a client asks for. */
export type Operation =
  | 'write'
  | 'transfer'
  | 'failing transfer'
  | 'read'
  | 'value'
  | 'staged'
  | 'mark'
  | 'me'

/** A request and its answer. */
export interface Call {
  readonly operation: Operation
  readonly tenant: string
  /** The first label of the host. */
  readonly slug: string
  /** The number of the process, from 0 on. */
  readonly process: number
  /** The key of a write or of a transfer. */
  readonly key: string
  readonly sent: number
  readonly done: number
  /** 0 if no answer came. */
  readonly status: number
  readonly body: unknown
  readonly retryAfter: string | undefined
  /** Whether the client ended the connection before an answer came. */
  readonly isAborted: boolean
}

/** Something that was broken, from `begin` until `end`. */
export interface Fault {
  readonly kind: string
  /** The process that it concerns; undefined if it concerns all. */
  readonly process?: number
  /** The tenant that it concerns; undefined if it concerns all. */
  readonly tenant?: string
  readonly begin: number
  readonly end: number
}

/** A change of a tenant by the manager, which was made by `end`. */
export interface Change {
  readonly kind: 'suspend' | 'resume' | 'rename'
  readonly tenant: string
  /** The slug from then on, of a rename. */
  readonly slug?: string
  readonly begin: number
  readonly end: number
}

/** What a process uses while nothing is broken. */
export interface Sample {
  readonly process: number
  readonly pid: number
  /** Heap after a garbage collection, in bytes. */
  readonly heap: number
  /** Sockets, timers and other handles of the event loop. */
  readonly handles: number
}

/** The connections of all processes while nothing is broken. */
export interface Connections {
  readonly postgres: number
  readonly redis: number
}

/** A tenant's rows in the end. */
export interface Stored {
  /** How often each key of a write is there. */
  readonly entries: ReadonlyMap<string, number>
  /** How many of the two rows of each transfer are there. */
  readonly legs: ReadonlyMap<string, number>
  /** Every value of the tenant's rows. */
  readonly values: readonly string[]
}

/** What the checker's rules take for granted. */
export interface Bounds {
  /** After a fault, service must be back within this time. */
  readonly recoveryMs: number
  /** A change must be in effect in every process within this time. */
  readonly changeMs: number
  /** Every answer must come within this time. */
  readonly answerMs: number
  /** Requests of the limited tenant in any 60 s. */
  readonly perMinute: number
  /** The most connections to PostgreSQL and Redis, for each process. */
  readonly connections: Connections
}

export interface History {
  readonly tenants: readonly string[]
  /** The tenant with the limit of {@link Bounds.perMinute}. */
  readonly limited: string
  readonly processes: number
  readonly bounds: Bounds
  readonly calls: readonly Call[]
  readonly faults: readonly Fault[]
  readonly changes: readonly Change[]
  readonly samples: readonly Sample[]
  readonly connections: readonly Connections[]
  /** By tenant. */
  readonly stored: ReadonlyMap<string, Stored>
  /** A sentence for each process that ended by itself. */
  readonly deaths: readonly string[]
  /** A sentence for each backend that outlives the processes. */
  readonly left: readonly string[]
}

/** One rule of the checker. */
export interface Rule {
  /** What must hold. */
  readonly name: string
  /** Returns a sentence for each violation. */
  check(history: History): string[]
}

/** Whether a fault concerns a call, and the call met it or came within `afterMs` of its end. */
export function isExcused (call: Call, faults: readonly Fault[], afterMs: number): boolean {
  return faults.some(({ process, tenant, begin, end }) =>
    (process === undefined || process === call.process) && (tenant === undefined || tenant === call.tenant) &&
    call.done >= begin && call.sent <= end + afterMs
  )
}

export function isServed ({ status }: Call): boolean {
  return status >= 200 && status < 300
}

/** One line for a report. */
export function describe ({ operation, slug, process, key, sent, done, status, body }: Call): string {
  const text = JSON.stringify(body) ?? ''
  const answer = `${status} ${text.length > 160 ? `${text.slice(0, 160)}…` : text}`
  const when = `${(sent / 1_000).toFixed(3)} to ${(done / 1_000).toFixed(3)} s`
  return `${operation} ${key} of ${slug} on process ${process}, ${when}: ${answer}`
}
