import { createOldDatabase } from './create-old-database.ts'

await createOldDatabase()
