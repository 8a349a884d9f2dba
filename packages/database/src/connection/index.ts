export { cancelStatement } from './cancel.ts'
