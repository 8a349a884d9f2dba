/**
 * The style sheet of all pages. Contrast of text is at least 4.5 to 1 in both schemes, of lines and
 * borders of controls 3 to 1.
 */
export const style = `:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #525a66; --edge: #d5dae1; --control: #7b8490;
  --link: #0b57a4; --line-0: #0b66c3; --line-1: #a8480a; --limit: #b3261e; --area: #0b66c31f;
  --good: #14652f; --good-back: #dff3e4; --warn: #7a4a00; --warn-back: #fff0cf;
  --bad: #9b1c13; --bad-back: #fde4e1; --quiet: #4a5260; --quiet-back: #e9ecf0;
  --button: #0b57a4; --button-text: #fff; --danger: #9b1c13;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #12151a; --card: #1b2027; --text: #e8ebef; --soft: #a9b2be; --edge: #343c47; --control: #7d8896;
    --link: #86bdf7; --line-0: #6db0f5; --line-1: #f2a35e; --limit: #ff8a80; --area: #6db0f526;
    --good: #8fdba6; --good-back: #173523; --warn: #f5c977; --warn-back: #3a2d10;
    --bad: #ffb0a8; --bad-back: #451d1a; --quiet: #c3cad4; --quiet-back: #2b323c;
    --button: #86bdf7; --button-text: #0d1116; --danger: #ffb0a8;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: .5rem; top: .5rem; background: var(--card); padding: .5rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
white-space: nowrap; }
header { background: var(--card); border-bottom: 1px solid var(--edge); }
header > div { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: center; }
header > div, main, footer { max-width: 76rem; margin: 0 auto; padding: .75rem 1rem; }
header nav ul { display: flex; flex-wrap: wrap; gap: .25rem; list-style: none; margin: 0; padding: 0; }
header nav a { display: block; padding: .5rem .75rem; border-radius: .4rem; text-decoration: none;
font-weight: 600; }
header nav a:hover { text-decoration: underline; }
header nav a[aria-current] { background: var(--quiet-back); color: var(--text); }
.brand { font-weight: 700; }
.who .name { margin-left: .75rem; font-weight: 600; }
.who { margin: 0 0 0 auto; color: var(--soft); overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .875rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .75rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.125rem; margin: 0 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p, dl, ul { margin: 0 0 .75rem; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; padding: 1rem;
  margin: 0 0 1rem; }
.card > :last-child { margin-bottom: 0; }
.badge { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .875rem; font-weight: 600;
white-space: nowrap; }
.good { color: var(--good); background: var(--good-back); }
.warn { color: var(--warn); background: var(--warn-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.quiet { color: var(--quiet); background: var(--quiet-back); }
.notice { border-radius: .6rem; padding: .75rem 1rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
.soft, .note, .empty { color: var(--soft); }
.note { font-size: .875rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0;
border-top: 1px solid var(--edge); overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--soft); font-size: .875rem; white-space: nowrap; }
tbody th { font-weight: 400; }
td .badge, th .badge { margin: 0 .25rem .125rem 0; }
.sub { display: block; color: var(--soft); font-size: .875rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr));
gap: .75rem 1.5rem; }
.facts dt { color: var(--soft); font-size: .875rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
form.row { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; }
label { font-weight: 600; font-size: .875rem; }
label > input, label > select { display: block; margin-top: .25rem; }
input, select, button, .button { font: inherit; min-height: 2.75rem; padding: .5rem .8rem;
border-radius: .4rem; border: 1px solid
  var(--control); background: var(--card); color: var(--text); max-width: 100%; }
input[type=search] { width: 22rem; }
button, .button { display: inline-flex; align-items: center; font-weight: 600; cursor: pointer;
text-decoration: none; color: var(--link); border-color: var(--link); }
button.main { background: var(--button); color: var(--button-text); border-color: var(--button); }
button.danger, .button.danger { color: var(--danger); border-color: var(--danger); background: var(--card); }
.actions + .note { margin-top: .75rem; }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; }
.pager { display: flex; flex-wrap: wrap; gap: .75rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1.5rem;
}
.plot { min-width: 0; }
.plot .now { font-size: 1.125rem; font-weight: 600; margin: 0; }
.plot .note { margin: 0 0 .5rem; }
.plot svg { display: block; width: 100%; height: 7.5rem; }
.scale { display: flex; justify-content: space-between; margin: 0; font-size: .8125rem; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; list-style: none; padding: 0; margin: .25rem 0;
font-size: .875rem; }
.key { display: inline-block; width: 1.25rem; height: 0; margin-right: .4rem; vertical-align: middle;
border-top: 3px solid; }
.key.line-0 { border-color: var(--line-0); }
.key.line-1 { border-color: var(--line-1); border-top-style: dotted; }
.key.limit { border-color: var(--limit); border-top-style: dashed; }
svg line, svg path { fill: none; vector-effect: non-scaling-stroke; }
svg .grid { stroke: var(--edge); }
svg .axis { stroke: var(--control); }
svg .line-0 { stroke: var(--line-0); stroke-width: 2; }
svg .line-1 { stroke: var(--line-1); stroke-width: 2.5; stroke-dasharray: 2 3; }
svg .limit { stroke: var(--limit); stroke-width: 2; stroke-dasharray: 7 5; }
svg .area { fill: var(--area); }
.live { color: var(--soft); font-size: .875rem; }
.live.stopped { color: var(--bad); font-weight: 600; }
summary { cursor: pointer; padding: .25rem 0; color: var(--link); font-weight: 600; }
.scroll { overflow: auto; max-height: 16rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .875rem;
background: var(--back); border: 1px solid var(--edge); border-radius: .4rem; padding: .5rem .75rem; }
code { font-family: ui-monospace, monospace; }
.finding { border-top: 1px solid var(--edge); padding: .75rem 0; }
.finding h3 { display: flex; flex-wrap: wrap; gap: .25rem .5rem; align-items: center; overflow-wrap: anywhere;
}
.finding p { margin: .25rem 0 .5rem; }
@media (max-width: 46rem) {
  .who { margin-left: 0; width: 100%; }
  label, label > input, label > select, input[type=search] { width: 100%; }
  table.cards, .cards tbody { display: block; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .facts { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
  .cards tr { display: flex; flex-wrap: wrap; gap: .125rem 1.25rem;
  border-top: 1px solid var(--edge); padding: .6rem 0; }
  .cards th, .cards td { border: 0; padding: 0; }
  .cards th { flex-basis: 100%; }
  .cards td { display: flex; gap: .4rem; align-items: baseline; max-width: 100%; }
  .cards td > span { min-width: 0; }
  .cards td.none { display: none; }
  .cards td::before { content: attr(data-label); flex: none; color: var(--soft); font-size: .875rem; }
}
`
