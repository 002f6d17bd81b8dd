/** Every kernel that only mixtures of experts run: loaded with the first such model. */
export * from './moe';
export * from './moe_grouped';
