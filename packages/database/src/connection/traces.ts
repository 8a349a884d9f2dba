/**
 * What earlier statements may have left in a connection's session. The states:
 *
 * - fresh: no statement ran since the connection was opened or reset
 * - of one owner: every statement since then was that owner's, so nothing of it may surprise that owner
 * - shared: statements of several owners ran
 *
 * Besides, a connection of one owner or of several is *clean* while every statement was proved harmless, and *touched*
 * afterwards. A clean connection still shows what harmless statements leave: the last values of sequences, and the texts
 * of prepared statements. So a statement that is not harmless needs a reset there, too.
 */
export class Traces {
  #owner: string | undefined
  #isShared = false
  #isTouched = false
  /** Whose statements may have used sequences: '' for several owners. */
  #sequenceUser: string | undefined

  get isTouched (): boolean {
    return this.#isTouched
  }

  /** Whether nothing on the connection comes from another owner. */
  areOf (owner: string): boolean {
    return this.#owner === undefined || (this.#owner === owner && !this.#isShared)
  }

  /** Whether the last values of sequences, where there are any, come from this owner. */
  areSequencesOf (owner: string): boolean {
    return this.#sequenceUser === undefined || this.#sequenceUser === owner
  }

  /**
   * Records a statement, before it is sent: it may act even if it fails.
   *
   * @param usesSequences whether it may take numbers from sequences
   */
  add (owner: string, isHarmless: boolean, usesSequences: boolean): void {
    if (!this.areOf(owner)) this.#isShared = true
    this.#owner = owner
    if (!isHarmless) this.#isTouched = true
    if (usesSequences) this.#sequenceUser = this.areSequencesOf(owner) ? owner : ''
  }

  /** Records that the values of sequences were discarded. `owner`: whose statement may have used some since. */
  keepSequencesOf (owner: string | undefined): void {
    this.#sequenceUser = owner
  }

  /** Records that the last statement was not harmless after all. */
  touch (): void {
    this.#isTouched = true
  }

  /** Records that statements which seemed harmless may not have been. */
  doubt (): void {
    if (this.#owner !== undefined) this.#isTouched = true
  }

  /** Records that other code used the connection, in ways that the driver did not see. */
  addUnknown (): void {
    // No owner has this name, so every owner needs a reset.
    this.add('', false, true)
  }

  /** Records a reset. */
  clear (): void {
    this.#owner = undefined
    this.#isShared = false
    this.#isTouched = false
    this.#sequenceUser = undefined
  }
}
