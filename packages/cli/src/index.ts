export type { CommandConfig } from './config.ts'
export { main, type Streams } from './main.ts'
