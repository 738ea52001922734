// What the engine does not do, each with a sentence: a refusal carries its key and values, so that it can be said in
// the reader's language wherever it arrives.

import { speaker } from "./texts.js";

export const REFUSALS = {
  truncated: {
    en: "The weight file has {0} bytes and should have {1}: it did not arrive whole. Load it again.",
    zh: "权重文件应有 {1} 字节，实际只有 {0} 字节：没有完整收到。请重新加载。",
  },
  foreign: {
    en: "This is not a weight file of the course, or one of a newer version.",
    zh: "这不是本课程的权重文件，或者版本更新。",
  },
  altered: {
    en: "The weight file was altered after it was written: its hash differs. Load it again.",
    zh: "权重文件写好之后被改动过：哈希值不符。请重新加载。",
  },
  notFinite: { en: "The weight {0} holds NaN or infinity.", zh: "权重 {0} 中有 NaN 或无穷大。" },
  missing: { en: "The weight {0} is not in the file.", zh: "文件里没有权重 {0}。" },
  shape: {
    en: "The weight {0} has the shape ({1}), the configuration asks for ({2}).",
    zh: "权重 {0} 的形状是 ({1})，而配置要求 ({2})。",
  },
  family: {
    en: "Models of the family {0} do not run here; those of {1} do.",
    zh: "这里不能运行 {0} 类的模型，只能运行 {1}。",
  },
  setting: { en: "Models with the setting {0} do not run here.", zh: "这里不能运行带有设置 {0} 的模型。" },
  tokenizer: {
    en: "This tokenizer does not run here: {0} must be {1}.",
    zh: "这里不能运行这个分词器：{0} 必须是 {1}。",
  },
  surrogate: {
    en: "Character {0} of the text is half a character (a lone surrogate). Delete it.",
    zh: "文本的第 {0} 个字符只有半个（孤立代理项），请删去。",
  },
  uncoded: { en: "Byte {0} is no token of this tokenizer.", zh: "字节 {0} 不是这个分词器的词元。" },
  id: { en: "{0} is no token: ids are whole numbers from 0 to {1}.", zh: "{0} 不是词元：编号是 0 到 {1} 的整数。" },
  empty: { en: "There is no text yet: type at least one character.", zh: "还没有文本：请至少输入一个字符。" },
  long: {
    en: "The text has {0} tokens, the model reads at most {1}. Shorten it.",
    zh: "文本有 {0} 个词元，模型最多读 {1} 个。请缩短。",
  },
  room: {
    en: "{0} tokens of text and {1} new ones are more than the {2} that the model reads. Shorten the text.",
    zh: "文本有 {0} 个词元，再加 {1} 个新词元，超过了模型能读的 {2} 个。请缩短文本。",
  },
  wide: {
    en: "The text has {0} characters; at most {1} are cut here. Shorten it.",
    zh: "文本有 {0} 个字符，这里最多切分 {1} 个。请缩短。",
  },
  bothWays: {
    en: "This model reads in both directions; it fills gaps and cannot go on with a text.",
    zh: "这个模型双向阅读，会填空，不会续写。",
  },
  nan: { en: "The model's scores are not numbers: its weights are too large.", zh: "模型的分数不是数：权重过大。" },
  range: { en: "{0} is {1}, it must be {2}.", zh: "{0} 是 {1}，应为 {2}。" },
  seed: {
    en: "A seed is a whole number from 0 to {0}. It stays {1}.",
    zh: "种子应为 0 到 {0} 的整数，现在仍是 {1}。",
  },
  unknown: { en: "{0} is unknown; known are {1}.", zh: "不认识 {0}，认识的是 {1}。" },
  unpacked: { en: "Python cannot send this model: {0}.", zh: "Python 无法发送这个模型：{0}。" },
  elsewhere: {
    en: "This model is only in the notebook: run the notebook to play with it. Below is what it said then.",
    zh: "这个模型只在笔记本里：运行笔记本才能动手试。下面是当时的结果。",
  },
  unfetched: {
    en: "The file {0} could not be fetched. Check the connection and start again.",
    zh: "取不到文件 {0}。请检查网络连接，再启动一次。",
  },
  noWorker: {
    en: "This browser lets pages start no worker, and so the model cannot run here.",
    zh: "这个浏览器不允许网页启动 worker，模型无法在这里运行。",
  },
  unloaded: { en: "No model is loaded yet.", zh: "还没有加载模型。" },
};

export class Refusal extends Error {
  constructor(key, ...values) {
    super(speaker(REFUSALS, "en")(key, ...values));
    this.key = key;
    this.values = values;
  }
}
