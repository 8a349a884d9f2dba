import t from 'tap'

import { readStatementText } from '../../packages/database/src/connection/statement.ts'

t.test('CPY-01 INJ-22 only statements on rows are allowed, whatever stands before them', async t => {
  for (
    const text of ['select 1', ' SELECT 1', '/* a /* nested */ comment */ select 1', '-- line\nselect 1',
      '-- line\rselect 1', '-- line\r\nselect 1', '((select 1))', '\n\t(values (1))',
      'with x as (select 1) select * from x', 'insert into t values (1)', 'update t set a = 1',
      'delete from t', 'table t', 'merge into t using u on true when matched then do nothing']
  ) {
    t.ok(readStatementText(text).isAllowed, text)
  }
  for (
    const text of ['', ' ', '--', '/* select', 'do $$ begin commit; end $$', 'call p()', 'copy t to stdout',
      'listen x', 'set role b', 'reset role', 'begin', 'commit', 'rollback', 'commit and chain',
      'savepoint a', "prepare transaction 'x'", 'create table t ()', 'drop table t', 'truncate t',
      'lock table t', 'discard all', 'explain select 1', 'vacuum', 'grant a to b',
      '/* select */ drop table t', '-- select\ndrop table t', ';select 1', '"select" 1', '$1', 'notify x',
      '--\rdo $$ begin\nupdate t set a = 1; commit; end $$', '--x\rcopy (\nselect 1) to stdout',
      '-- x\r\rexplain analyze\nselect 1', '(--\rlisten\nupdate', '--\rprepare x as\nselect 1', 'show role',
      'declare c cursor for select 1', 'fetch c', 'execute x', 'prepare x as select 1']
  ) {
    t.notOk(readStatementText(text).isAllowed, text)
  }
})

t.test('CON-04 SELECT … INTO is known by the place of its INTO', async t => {
  for (
    const text of ['select * into t from notes', 'select 1 INTO temp t',
      'with x as (select 1) select * into x2 from x', 'select 1/**/into t', 'select 1 --\ninto t',
      "select '''' into t", "select E'\\'' into t", 'select $$ $$ into t', 'select "a"into t',
      '(select 1 into t)', 'select 1 as into into t', 'select 1 insert into temp t',
      'select 1 as merge into t', '(select 1 insert into temp t)',
      'with x as (select 1) select 1 insert into t', 'insert into t select 1 into t2']
  ) {
    t.ok(readStatementText(text).makesTable, text)
  }
  for (
    const text of ['insert into t values (1)', 'with x as (select 1) insert into t select * from x',
      'insert into t select 1', 'with x as ((select 1) union (select 2)) merge into t using u on true',
      'INSERT  /* a */ INTO t select 1', 'with x as (insert into t values (1) returning *) select * from x',
      'merge into t using u on true when matched then do nothing', "select 'a into b'",
      'select "into" from t', 'select t.into from t', 'select 1 as into', 'select $a$ into $a$',
      '-- into\nselect 1', '/* select /* into */ into */ select 1', "select E'\\' into '"]
  ) {
    t.notOk(readStatementText(text).makesTable, text)
  }
})

t.test('a text has one name, and another text another', async t => {
  t.equal(readStatementText('select 1').name, readStatementText('select 1').name)
  t.not(readStatementText('select 1').name, readStatementText('select 2').name)
  t.match(readStatementText('select 1').name, /^t_[\w-]{24}$/)
})

const text = (length: number): string => `select ${Array.from({ length }, (_, at) => `$${at + 1}`).join(',')}`

t.test('lists of ever new lengths do not fill the memory, because long texts are not kept', async t => {
  t.equal(readStatementText(text(5_000)).name, '')
  t.ok(readStatementText(text(5_000)).isAllowed)
  t.not(readStatementText(text(5_000)), readStatementText(text(5_000)))
  t.equal(readStatementText(text(100)), readStatementText(text(100)))
})
