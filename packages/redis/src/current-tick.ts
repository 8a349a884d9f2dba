let queue: (() => void)[] = []

/**
 * Calls `work` at the end of this event-loop tick, after all readable sockets were read. Work added
 * during that phase runs in the same phase, so commands collected at the end of a tick leave
 * together.
 */
export function afterCurrentTick (work: () => void): void {
  if (queue.push(work) === 1) setImmediate(endTurn)
}

function endTurn (): void {
  let at = 0
  try {
    for (; at < queue.length; at++) queue[at]!()
  } finally {
    // The error of one work item goes to the process. The remaining items run in the next tick.
    const left = queue.slice(at + 1)
    queue = []
    for (const work of left) afterCurrentTick(work)
  }
}
