import ts from 'typescript'
import { dirname, join } from 'node:path'

import { root } from './sources.ts'

/** A package with its built declarations. */
export interface Declared {
  readonly name: string
  /** Paths of its entries' declarations. */
  readonly entries: readonly string[]
}

/**
 * Returns the types that a package's exports use and that no entry of a package exports. The
 * compiler cannot write such a type into a user's own declarations (TS2742, TS4058).
 */
export function hiddenTypes (packages: readonly Declared[]): string[] {
  const program = ts.createProgram(packages.flatMap(({ entries }) => entries), {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2024,
    strict: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')]
  })
  const checker = program.getTypeChecker()
  const resolved = (symbol: ts.Symbol): ts.Symbol =>
    (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol)
  const folders = packages.flatMap(({ entries }) => entries.map(entry => dirname(entry)))
  const exported = new Set<ts.Symbol>()
  for (const entry of packages.flatMap(({ entries }) => entries)) {
    const file = program.getSourceFile(entry)
    const module = file && checker.getSymbolAtLocation(file)
    for (const symbol of module === undefined ? [] : checker.getExportsOfModule(module))
      exported.add(resolved(symbol))
  }
  const isOurs = ({ fileName }: ts.SourceFile): boolean =>
    !fileName.includes('/node_modules/') && folders.some(folder => fileName.startsWith(folder))

  // An augmented interface has several symbols that share declarations.
  const declarations = new Set([...exported].flatMap(symbol => symbol.declarations ?? []))
  const problems = new Set<string>()
  const seen = { given: new Set<ts.Symbol>(), taken: new Set<ts.Symbol>() }
  /**
   * @param isGiven whether the user gets values of this type, as results or as arguments of
   * callbacks.
   */
  const visit = (symbol: ts.Symbol, isGiven: boolean): void => {
    const visited = isGiven ? seen.given : seen.taken
    if (visited.has(symbol)) return
    visited.add(symbol)
    for (const declaration of symbol.declarations ?? [])
      if (isOurs(declaration.getSourceFile())) walk(declaration, symbol.name, isGiven)
  }
  const walk = (node: ts.Node, from: string, isGiven: boolean): void => {
    if (ts.isConstructorDeclaration(node) || ts.isTypeParameterDeclaration(node)) return
    const name = ts.isTypeReferenceNode(node)
      ? node.typeName
      : ts.isTypeQueryNode(node)
      ? node.exprName
      : undefined
    const found = name && checker.getSymbolAtLocation(name)
    if (found !== undefined) use(resolved(found), from, isGiven, ts.isTypeReferenceNode(node))
    ts.forEachChild(node, child => {
      walk(child, from, ts.isParameter(node) && child === node.type ? !isGiven : isGiven)
    })
  }
  const use = (symbol: ts.Symbol, from: string, isGiven: boolean, isNamed: boolean): void => {
    if ((symbol.flags & ts.SymbolFlags.TypeParameter) !== 0) return
    const declaration = symbol.declarations?.[0]
    if (declaration === undefined || !isOurs(declaration.getSourceFile())) return
    if (isGiven && isNamed && !symbol.declarations?.some(one => declarations.has(one)))
      problems.add(`${symbol.name}, which ${from} uses, is exported nowhere`)
    visit(symbol, isGiven)
  }
  for (const symbol of exported) visit(symbol, true)
  return [...problems].toSorted()
}
