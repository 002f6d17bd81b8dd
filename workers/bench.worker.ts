/** The benchmark's worker. */
import { expose } from 'comlink';
import { createBenchWorker } from '../src/bench/run';

expose(createBenchWorker());
