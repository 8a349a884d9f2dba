// Every kind of statement that a handle sends. Each leaves the rows as it found them.
import { sql, type Kysely } from 'kysely'

import type { Rows } from '../../strategies/strategy-fixture.ts'
import { notes, project } from './place.ts'

type Db = Kysely<Rows>

export interface StatementKind {
  /** Sends it, and answers with every row that came back, in the order of their coming. */
  run(db: Db, tag: (n: number | string) => string): Promise<readonly object[]>
  /** The tags of the tenant's own that must be in the answer, and no other. */
  readonly answer: readonly (number | string)[]
  /** Raw SQL, which a strategy that rewrites queries refuses. */
  readonly isRaw?: boolean
  /** Reads no table, so the reply can contain no tenant's row. */
  readonly isTableless?: boolean
  /** It only reads, and the tenant column of every row is in the answer. */
  readonly isRead?: boolean
}

const extra = 'new'
const extraRow = (tag: (n: number | string) => string): { n: number; body: string } => ({
  n: 9,
  body: tag(extra)
})

const takeBack = (db: Db): Promise<readonly object[]> =>
  db.deleteFrom('notes').where('n', '>=', 9).returningAll().execute()
const all = (db: Db): Promise<readonly object[]> => db.selectFrom('notes').selectAll().orderBy('n').execute()

/** The plainest of {@link kinds}. */
export const select: StatementKind = { answer: notes, isRead: true, run: all }

export const kinds: Readonly<Record<string, StatementKind>> = {
  select,

  'select with parameters': {
    answer: notes,
    isRead: true,
    run: db => db.selectFrom('notes').selectAll().where('n', '>', 0).where('n', 'in', [1, 2, 3, 4]).execute()
  },

  join: {
    isRead: true,
    answer: notes.flatMap(n => [n, project]),
    run: db =>
      db.selectFrom('notes').innerJoin('projects', join => join.onTrue()).selectAll(['notes', 'projects'])
        .execute()
  },

  insert: {
    answer: [...notes, extra, extra],
    async run (db, tag) {
      await db.insertInto('notes').values(extraRow(tag)).execute()
      return [...await all(db), ...await takeBack(db)]
    }
  },

  'insert returning': {
    answer: [extra, ...notes, extra, extra],
    async run (db, tag) {
      const inserted = await db.insertInto('notes').values(extraRow(tag)).returningAll().execute()
      return [...inserted, ...await all(db), ...await takeBack(db)]
    }
  },

  'insert from a select': {
    answer: [...notes, ...notes],
    async run (db) {
      const inserted = await db.insertInto('notes').columns(['body', 'n'])
        .expression(from => from.selectFrom('notes').select(['body', eb => eb('n', '+', 10).as('n')]))
        .returningAll().execute()
      return [...inserted, ...await takeBack(db)]
    }
  },

  update: {
    answer: notes,
    run: db => db.updateTable('notes').set(eb => ({ n: eb.ref('n') })).returningAll().execute()
  },

  delete: {
    answer: notes,
    async run (db, tag) {
      const deleted = await db.deleteFrom('notes').returningAll().execute()
      await db.insertInto('notes').values(notes.map(n => ({ n, body: tag(n) }))).execute()
      return deleted
    }
  },

  merge: {
    answer: notes,
    run: db =>
      db.mergeInto('notes').using('notes as same', 'same.id', 'notes.id')
        .whenMatched().thenUpdateSet(eb => ({ n: eb.ref('same.n') })).returningAll('notes').execute()
  },

  'merge that inserts': {
    answer: [project, project],
    async run (db) {
      await db.mergeInto('notes').using('projects', 'projects.name', 'notes.body')
        .whenNotMatched().thenInsertValues(eb => ({ body: eb.ref('projects.name'), n: 9 })).execute()
      const merged = await db.selectFrom('notes').selectAll().where('n', '>=', 9).execute()
      return [...merged, ...await takeBack(db)]
    }
  },

  'with that writes': {
    answer: [...notes, ...notes],
    run: db =>
      db.with('touched', qb => qb.updateTable('notes').set(eb => ({ n: eb.ref('n') })).returningAll())
        .selectFrom('touched').innerJoin('notes', 'notes.n', 'touched.n').selectAll('touched').select(
          'notes.body as other'
        ).execute()
  },

  values: {
    answer: [extra],
    isRaw: true,
    isTableless: true,
    run: async (db, tag) => (await sql<object>`values (${tag(extra)}::text)`.execute(db)).rows
  },

  table: {
    answer: notes,
    isRaw: true,
    isRead: true,
    run: async db => (await sql<object>`table notes`.execute(db)).rows
  },

  stream: {
    answer: notes,
    isRead: true,
    async run (db) {
      const rows: object[] = []
      for await (const row of db.selectFrom('notes').selectAll().stream(1)) rows.push(row)
      return rows
    }
  },

  transaction: {
    answer: [...notes, extra, extra],
    run: (db, tag) =>
      db.transaction().execute(async trx => {
        await trx.insertInto('notes').values(extraRow(tag)).execute()
        return [...await all(trx), ...await takeBack(trx)]
      })
  },

  savepoint: {
    answer: [...notes, ...notes, ...notes],
    async run (db) {
      const trx = await db.startTransaction().execute()
      const before = await all(trx)
      const saved = await trx.savepoint('before').execute()
      const deleted = await saved.deleteFrom('notes').returningAll().execute()
      const back = await saved.rollbackToSavepoint('before').execute()
      const after = await all(back)
      await back.commit().execute()
      return [...before, ...deleted, ...after]
    }
  },

  'controlled transaction': {
    answer: [...notes, extra, ...notes],
    async run (db, tag) {
      const trx = await db.startTransaction().execute()
      await trx.insertInto('notes').values(extraRow(tag)).execute()
      const inside = await all(trx)
      await trx.rollback().execute()
      return [...inside, ...await all(db)]
    }
  }
}
