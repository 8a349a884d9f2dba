import { pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { relations } from 'drizzle-orm'

/**
 * The tables as Drizzle sees them. The tenant column is left out: PostgreSQL fills it with the
 * tenant of the request, and no query needs it.
 */
export const projects = pgTable('projects', {
  id: uuid().primaryKey().defaultRandom(),
  name: text().notNull()
})

export const tasks = pgTable('tasks', {
  id: uuid().primaryKey().defaultRandom(),
  projectId: uuid('project_id').notNull(),
  title: text().notNull()
})

export const projectTasks = relations(projects, ({ many }) => ({ tasks: many(tasks) }))
export const taskProject = relations(tasks, ({ one }) => ({
  project: one(projects, { fields: [tasks.projectId], references: [projects.id] })
}))
