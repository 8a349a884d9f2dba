let queue: (() => void)[] = []

/**
 * Calls `work` at the end of this turn of the event loop, when all sockets that had something to say have been heard.
 * What is asked for there is done there: commands that are gathered at a turn's end leave at the same one.
 */
export function afterCurrentTick (work: () => void): void {
  if (queue.push(work) === 1) setImmediate(endTurn)
}

function endTurn (): void {
  let at = 0
  try {
    for (; at < queue.length; at++) queue[at]!()
  } finally {
    // One that fails is for the process to hear of; what is left waits a turn more.
    const left = queue.slice(at + 1)
    queue = []
    for (const work of left) afterCurrentTick(work)
  }
}
