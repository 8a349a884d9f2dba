export { choose, type Choices, type DatabaseChoice, type Language, type Strategy } from './choices.ts'
export { applicationFiles } from './application-files.ts'
export { main, type Terminal } from './main.ts'
