/** A chain of MatMulNBits as ONNX bytes: every product reads what the one before wrote, and has weights of its own. */
import protobuf from 'protobufjs';
import { randomBytes } from './random.js';

const types = { float: 1, uint8: 2 };
const attributeInt = 2;

/** The part of onnx.proto3 that such a graph needs; protobufjs names its fields in camel case. */
const onnx = protobuf.parse(
  `
  syntax = "proto3";
  message OperatorSetIdProto { string domain = 1; int64 version = 2; }
  message AttributeProto { string name = 1; int64 i = 3; int32 type = 20; }
  message NodeProto {
    repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4;
    repeated AttributeProto attribute = 5; string domain = 7;
  }
  message TensorProto { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
  message Dimension { int64 dim_value = 1; }
  message TensorShapeProto { repeated Dimension dim = 1; }
  message Tensor { int32 elem_type = 1; TensorShapeProto shape = 2; }
  message TypeProto { Tensor tensor_type = 1; }
  message ValueInfoProto { string name = 1; TypeProto type = 2; }
  message GraphProto {
    repeated NodeProto node = 1; string name = 2; repeated TensorProto initializer = 5;
    repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12;
  }
  message ModelProto { int64 ir_version = 1; string producer_name = 2; GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
`,
).root;

/**
 * `shapes`: [rows, cols] of the matrices that the chain goes through, `copies` times in this order; the rows of one are the columns of
 * the next. Input x and output y are f32 [tokens, n]. Weights: 4 bits, an f32 scale for each `block` of a row.
 */
export function matMulChain({ shapes, copies, tokens, block, accuracyLevel }) {
  const initializer = [];
  const node = [];
  const count = shapes.length * copies;
  for (let i = 0; i < count; i++) {
    const [rows, cols] = shapes[i % shapes.length];
    const blocks = cols / block;
    // Values from -7 to 7, and a scale that keeps activations of the same size from product to product.
    const scales = new Float32Array(rows * blocks).fill(1 / (4.18 * Math.sqrt(cols)));
    initializer.push(
      {
        name: `w${i}`,
        dataType: types.uint8,
        dims: [rows, blocks, block / 2],
        rawData: centred(randomBytes((rows * cols) / 2, i)),
      },
      { name: `s${i}`, dataType: types.float, dims: [rows * blocks], rawData: new Uint8Array(scales.buffer) },
    );
    const attributes = { K: cols, N: rows, bits: 4, block_size: block, accuracy_level: accuracyLevel };
    node.push({
      name: `product ${i}`,
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      input: [i === 0 ? 'x' : `y${i}`, `w${i}`, `s${i}`],
      output: [i === count - 1 ? 'y' : `y${i + 1}`],
      attribute: Object.entries(attributes).map(([name, value]) => ({ name, i: value, type: attributeInt })),
    });
  }
  const value = (name, size) => ({
    name,
    type: { tensorType: { elemType: types.float, shape: { dim: [{ dimValue: tokens }, { dimValue: size }] } } },
  });
  const Model = onnx.lookupType('ModelProto');
  return Model.encode(
    Model.create({
      irVersion: 8,
      producerName: 'sluice bench',
      opsetImport: [
        { domain: '', version: 17 },
        { domain: 'com.microsoft', version: 1 },
      ],
      graph: { name: 'chain', node, initializer, input: [value('x', shapes[0][1])], output: [value('y', shapes.at(-1)[0])] },
    }),
  ).finish();
}

/**
 * Codes without 0, which stands for -8: it becomes 8, which stands for 0. Were the mean of a matrix not zero, that of the activations would
 * grow by some sqrt(cols) / 9 with every product.
 */
function centred(bytes) {
  const words = new Uint32Array(bytes.buffer);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const zeros = ~(word | (word >>> 1) | (word >>> 2) | (word >>> 3)) & 0x11111111;
    words[i] = word | (zeros << 3);
  }
  return bytes;
}
