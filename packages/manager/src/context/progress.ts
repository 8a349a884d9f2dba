/** How far long work is. */
export interface Progress {
  /** What is done: `'create'`, `'purge'`, `'migrate'`, … */
  readonly operation: string
  /** The id of the tenant that it is done for. */
  readonly tenant?: string
  /** The slug of that tenant, where the step knows it. */
  readonly slug?: string
  /** Which of several workers does it, from 0. */
  readonly worker?: number
  /** What was just finished. */
  readonly step: string
  readonly done?: number
  readonly total?: number
}

export type OnProgress = (progress: Progress) => void
