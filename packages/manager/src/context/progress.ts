/** Progress of long work. */
export interface Progress {
  /** The operation: `'create'`, `'purge'`, `'migrate'`, … */
  readonly operation: string
  /** The tenant's id. */
  readonly tenant?: string
  /** The tenant's slug, if the step has it. */
  readonly slug?: string
  /** Number of the worker, from 0. */
  readonly worker?: number
  /** The step that has just finished. */
  readonly step: string
  readonly done?: number
  readonly total?: number
}

export type OnProgress = (progress: Progress) => void
