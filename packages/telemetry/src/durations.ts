import type { Metric, Registry } from 'prom-client'

/** Upper bounds of the buckets, in seconds. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

interface Series {
  readonly buckets: number[]
  sum: number
  count: number
}

/** A sample in prom-client's format. */
interface Sample {
  readonly metricName: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

/**
 * A histogram of durations with one label, as a metric of prom-client's registry. prom-client's own
 * histogram builds a label text and a closure per observation, which is three quarters of the cost
 * of a request's metrics.
 */
export class Durations {
  readonly name: string
  readonly help: string
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly #label: string
  readonly #series = new Map<string, Series>()

  constructor (registry: Registry, name: string, help: string, label: string) {
    this.name = name
    this.help = help
    this.#label = label
    registry.registerMetric(this as unknown as Metric)
  }

  /** @param milliseconds recorded in seconds, the unit of Prometheus */
  observe (value: string, milliseconds: number): void {
    let series = this.#series.get(value)
    if (series === undefined)
      this.#series.set(value, series = { buckets: [...bounds, 0].map(() => 0), sum: 0, count: 0 })
    const seconds = milliseconds / 1_000
    let at = 0
    while (at < bounds.length && seconds > (bounds[at] ?? 0)) at++
    series.buckets[at] = (series.buckets[at] ?? 0) + 1
    series.sum += seconds
    series.count++
  }

  /** Called by the registry. */
  async get (): Promise<object> {
    const values = [...this.#series].flatMap(([value, series]) => this.#samples(value, series))
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values }
  }

  /** Called by the registry's `resetMetrics()`. */
  reset (): void {
    this.#series.clear()
  }

  #samples (value: string, { buckets, sum, count }: Series): Sample[] {
    const labels = { [this.#label]: value }
    let below = 0
    const counted = buckets.map((each, at) => ({
      metricName: `${this.name}_bucket`,
      labels: { le: bounds[at] ?? '+Inf', ...labels },
      value: below += each
    }))
    return [...counted, { metricName: `${this.name}_sum`, labels, value: sum }, {
      metricName: `${this.name}_count`,
      labels,
      value: count
    }]
  }
}
