/**
 * Records what earlier statements may have left in a connection's session: nothing since it was
 * opened or reset, traces of one owner, which may see its own, or traces of several owners. See
 * DECISIONS for *clean* and *touched*.
 */
export class Traces {
  #owner: string | undefined
  #isShared = false
  #isTouched = false
  /** The owner whose statements may have used sequences; '' for several owners. */
  #sequenceUser: string | undefined

  get isTouched (): boolean {
    return this.#isTouched
  }

  /** Whether no other owner left traces on the connection. */
  areOf (owner: string): boolean {
    return this.#owner === undefined || (this.#owner === owner && !this.#isShared)
  }

  /** Whether no other owner left last values of sequences. */
  areSequencesOf (owner: string): boolean {
    return this.#sequenceUser === undefined || this.#sequenceUser === owner
  }

  /**
   * Records a statement before it is sent, because it may act even if it fails.
   *
   * @param usesSequences whether it may call nextval(), currval() or lastval()
   */
  add (owner: string, isHarmless: boolean, usesSequences: boolean): void {
    if (!this.areOf(owner)) this.#isShared = true
    this.#owner = owner
    if (!isHarmless) this.#isTouched = true
    if (usesSequences) this.#sequenceUser = this.areSequencesOf(owner) ? owner : ''
  }

  /**
   * Records that the values of sequences were discarded. `owner` is the owner whose statement may
   * have used some afterwards.
   */
  keepSequencesOf (owner: string | undefined): void {
    this.#sequenceUser = owner
  }

  /** Records that the last statement was not harmless after all. */
  touch (): void {
    this.#isTouched = true
  }

  /** Records that statements which were judged harmless may not have been. */
  touchIfUsed (): void {
    if (this.#owner !== undefined) this.#isTouched = true
  }

  /** Records that foreign code used the connection, with statements that the driver did not see. */
  addUnknown (): void {
    // No owner is named '', so every owner needs a reset.
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
