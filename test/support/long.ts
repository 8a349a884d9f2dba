/** Whether this is `npm run test:long`: what has a short form for every day then takes all of it. */
export const isLong: boolean = process.env.TEST_LONG === '1'
