export { DatabaseUnavailableError, SetupInvalidError } from './errors.ts'
