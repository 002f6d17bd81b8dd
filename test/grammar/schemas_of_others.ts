/** Schemas as people write them: nothing in `src/grammar/` was made for one of these. Written before the first of them was run. */
import type { Schema } from './random_schemas';

export const schemasOfOthers: Record<string, Schema> = {
  invoice: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://example.com/invoice.json',
    title: 'Invoice',
    type: 'object',
    properties: {
      number: { type: 'string', pattern: '^INV-\\d{4}-\\d{3,6}$' },
      issued: { type: 'string', format: 'date' },
      currency: { enum: ['EUR', 'USD', 'GBP', 'JPY'] },
      lines: {
        type: 'array',
        minItems: 1,
        maxItems: 50,
        items: {
          type: 'object',
          properties: {
            description: { type: 'string', minLength: 1, maxLength: 120 },
            quantity: { type: 'integer', minimum: 1, maximum: 9999 },
            unitPrice: { type: 'number', exclusiveMinimum: 0, maximum: 1000000 },
            taxRate: { type: 'number', minimum: 0, exclusiveMaximum: 1, default: 0.2 },
          },
          required: ['description', 'quantity', 'unitPrice'],
          additionalProperties: false,
        },
      },
      notes: { type: ['string', 'null'] },
    },
    required: ['number', 'issued', 'currency', 'lines'],
    additionalProperties: false,
  },
  'extracted people': {
    type: 'object',
    properties: {
      people: {
        type: 'array',
        items: {
          type: 'object',
          properties: {
            name: { type: 'string', description: 'Full name as it stands in the text' },
            age: { anyOf: [{ type: 'integer', minimum: 0, maximum: 130 }, { type: 'null' }] },
            occupation: { type: 'string' },
            relations: {
              type: 'array',
              items: {
                type: 'object',
                properties: {
                  to: { type: 'string' },
                  kind: { type: 'string', enum: ['parent', 'child', 'sibling', 'spouse', 'other'] },
                },
                required: ['to', 'kind'],
                additionalProperties: false,
              },
            },
          },
          required: ['name', 'age', 'occupation', 'relations'],
          additionalProperties: false,
        },
      },
    },
    required: ['people'],
    additionalProperties: false,
  },
  'a step by step solution': {
    $defs: {
      step: {
        type: 'object',
        properties: { explanation: { type: 'string' }, output: { type: 'string' } },
        required: ['explanation', 'output'],
        additionalProperties: false,
      },
    },
    type: 'object',
    properties: { steps: { type: 'array', items: { $ref: '#/$defs/step' } }, final_answer: { type: 'string' } },
    required: ['steps', 'final_answer'],
    additionalProperties: false,
  },
  'a user interface tree': {
    type: 'object',
    properties: {
      type: { type: 'string', enum: ['div', 'button', 'header', 'section', 'field', 'form'] },
      label: { type: 'string' },
      children: { type: 'array', items: { $ref: '#' } },
      attributes: {
        type: 'array',
        items: {
          type: 'object',
          properties: { name: { type: 'string' }, value: { type: 'string' } },
          additionalProperties: false,
          required: ['name', 'value'],
        },
      },
    },
    required: ['type', 'label', 'children', 'attributes'],
    additionalProperties: false,
  },
  'a linked list': {
    definitions: {
      node: {
        type: 'object',
        properties: { value: { type: 'number' }, next: { anyOf: [{ $ref: '#/definitions/node' }, { type: 'null' }] } },
        required: ['value', 'next'],
        additionalProperties: false,
      },
    },
    type: 'object',
    properties: { head: { $ref: '#/definitions/node' } },
    required: ['head'],
  },
  moderation: {
    type: 'object',
    properties: {
      is_violating: { type: 'boolean' },
      category: { type: ['string', 'null'], enum: ['violence', 'sexual', 'self_harm', null] },
      confidence: { type: 'number', minimum: 0, maximum: 1 },
    },
    required: ['is_violating', 'category', 'confidence'],
    additionalProperties: false,
  },
  'shapes, told apart by kind': {
    type: 'array',
    maxItems: 8,
    items: {
      oneOf: [
        {
          type: 'object',
          properties: { kind: { const: 'circle' }, radius: { type: 'number', exclusiveMinimum: 0 } },
          required: ['kind', 'radius'],
        },
        {
          type: 'object',
          properties: {
            kind: { const: 'rectangle' },
            size: { type: 'array', prefixItems: [{ type: 'number' }, { type: 'number' }], minItems: 2, items: false },
          },
          required: ['kind', 'size'],
        },
        { type: 'object', properties: { kind: { enum: ['point', 'origin'] } }, required: ['kind'] },
      ],
    },
  },
  'geojson, a part': {
    type: 'object',
    properties: {
      type: { const: 'Feature' },
      geometry: {
        type: 'object',
        properties: {
          type: { const: 'Point' },
          coordinates: {
            type: 'array',
            prefixItems: [
              { type: 'number', minimum: -180, maximum: 180 },
              { type: 'number', minimum: -90, maximum: 90 },
            ],
            items: { type: 'number' },
            minItems: 2,
            maxItems: 3,
          },
        },
        required: ['type', 'coordinates'],
      },
      properties: { type: ['object', 'null'] },
    },
    required: ['type', 'geometry', 'properties'],
  },
  'a package manifest, a part': {
    type: 'object',
    required: ['name', 'version'],
    properties: {
      name: { type: 'string', pattern: '^(?:@[a-z0-9-~][a-z0-9-._~]*/)?[a-z0-9-~][a-z0-9-._~]*$', maxLength: 214 },
      version: { type: 'string', pattern: '^\\d+\\.\\d+\\.\\d+(-[0-9A-Za-z.-]+)?$' },
      private: { type: 'boolean' },
      keywords: { type: 'array', items: { type: 'string' } },
      dependencies: { $ref: '#/$defs/dependencies' },
      devDependencies: { $ref: '#/$defs/dependencies' },
      engines: { type: 'object', properties: { node: { type: 'string' } }, additionalProperties: { type: 'string' } },
    },
    $defs: {
      dependencies: { type: 'object', additionalProperties: { type: 'string' }, propertyNames: { minLength: 1, maxLength: 40 } },
    },
  },
  'settings by allOf': {
    allOf: [
      { $ref: '#/$defs/named' },
      {
        type: 'object',
        properties: { port: { type: 'integer', minimum: 1024, maximum: 65535 }, host: { type: 'string', format: 'hostname' } },
        required: ['port'],
      },
    ],
    $defs: { named: { type: 'object', properties: { name: { type: 'string', minLength: 1 } }, required: ['name'] } },
  },
  'either key': {
    type: 'object',
    properties: { email: { type: 'string', format: 'email' }, phone: { type: 'string', pattern: '^\\+?[0-9 ]{6,15}$' } },
    anyOf: [{ required: ['email'] }, { required: ['phone'] }],
    additionalProperties: false,
  },
  'counts by word': {
    type: 'object',
    patternProperties: { '^[a-z]+$': { type: 'integer', minimum: 0 } },
    additionalProperties: false,
    minProperties: 1,
  },
  'a json patch': {
    type: 'array',
    items: {
      oneOf: [
        {
          type: 'object',
          required: ['op', 'path', 'value'],
          properties: {
            op: { enum: ['add', 'replace', 'test'] },
            path: { type: 'string', pattern: '^(/([^/~]|~[01])*)*$' },
            value: {},
          },
          additionalProperties: false,
        },
        {
          type: 'object',
          required: ['op', 'path'],
          properties: { op: { const: 'remove' }, path: { type: 'string', pattern: '^(/([^/~]|~[01])*)*$' } },
          additionalProperties: false,
        },
      ],
    },
  },
  'a sensor reading': {
    type: 'object',
    properties: {
      id: { type: 'string', format: 'uuid' },
      at: { type: 'string', format: 'date-time' },
      address: {
        anyOf: [
          { type: 'string', format: 'ipv4' },
          { type: 'string', format: 'ipv6' },
        ],
      },
      celsius: { type: 'number', minimum: -273.15, maximum: 1000 },
      tiny: { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1e-7 },
      big: { type: 'integer', minimum: 1000000000000 },
      flags: { type: 'array', items: { type: 'boolean' }, minItems: 3, maxItems: 3 },
    },
    required: ['id', 'at', 'celsius', 'flags', 'tiny', 'big'],
  },
  'a score': { type: 'integer', enum: [1, 2, 3, 4, 5] },
  'an answer': { const: { ok: true, list: [1, 'two', null] } },
  'text in another script': {
    type: 'object',
    properties: { 名前: { type: 'string', pattern: '^[\\u3040-\\u30ff\\u4e00-\\u9fff]+$', maxLength: 10 } },
    required: ['名前'],
  },
  'no more than two of three': {
    type: 'object',
    properties: { a: { type: 'null' }, b: { type: 'null' }, c: { type: 'null' } },
    minProperties: 1,
    maxProperties: 2,
  },
};
