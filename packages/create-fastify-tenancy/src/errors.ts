/** A choice that the command line or a caller may not make. */
export class ChoiceError extends Error {
  override name = 'ChoiceError'
}

/** The folder of the application cannot be written. */
export class FolderError extends Error {
  override name = 'FolderError'
}
