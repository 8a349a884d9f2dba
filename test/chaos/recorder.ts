// Writes the history of a run while it happens.
import type { Call, Change, Connections, Fault, Sample } from './history.ts'

export class Recorder {
  readonly calls: Call[] = []
  readonly faults: Fault[] = []
  readonly changes: Change[] = []
  readonly samples: Sample[] = []
  readonly connections: Connections[] = []

  /** Runs a fault and notes its time. */
  async fault (about: Omit<Fault, 'begin' | 'end'>, work: () => Promise<void>): Promise<void> {
    const begin = performance.now()
    try {
      await work()
    } finally {
      this.faults.push({ ...about, begin, end: performance.now() })
    }
  }

  /** Runs a change of a tenant and notes when it was made. */
  async change (about: Omit<Change, 'begin' | 'end'>, work: () => Promise<unknown>): Promise<void> {
    const begin = performance.now()
    await work()
    this.changes.push({ ...about, begin, end: performance.now() })
  }

  /** Notes that the machine gave a process no time. */
  stall (process: number | undefined, stallMs: number): void {
    const end = performance.now()
    this.faults.push({
      kind: 'busy machine',
      ...(process !== undefined && { process }),
      begin: end - stallMs - 500,
      end
    })
  }
}
