/** The doctor's worker: whatever may take long or die does so here. */
import { expose } from 'comlink';
import { createDoctorWorker } from '../src/doctor/examination';

expose(createDoctorWorker());
