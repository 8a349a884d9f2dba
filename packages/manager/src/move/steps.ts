/** Names of a move's steps. The journal stores them, so never rename one. */
export type MoveStepName =
  | 'plan'
  | 'provision'
  | 'migrate'
  | 'check'
  | 'capture'
  | 'snapshot'
  | 'catch-up'
  | 'lockout'
  | 'wait'
  | 'replay'
  | 'switch'
  | 'open'
  | 'release'

// Whether a move that was undone in part runs the step again. From the capture of changes on, a
// step relies on triggers or a lockout that the undo removes. From the switch on, no undo is
// possible.
const isRepeated: Readonly<Record<MoveStepName, boolean>> = {
  'plan': false,
  'provision': false,
  'migrate': false,
  'check': false,
  'capture': true,
  'snapshot': true,
  'catch-up': true,
  'lockout': true,
  'wait': true,
  'replay': true,
  'switch': false,
  'open': false,
  'release': false
}

/** Steps that the journal must mark as not done when a move is undone. */
export const repeatedSteps: readonly MoveStepName[] = (Object.keys(isRepeated) as MoveStepName[])
  .filter(name => isRepeated[name])
