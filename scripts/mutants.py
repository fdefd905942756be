"""Small planted faults, for scripts/mutate: what the tests have to notice.

A fault stands in a file as the replacement of a text that occurs there exactly once. Its name begins with the
room whose tests have to notice it. Where none can, because nothing is wrong then, `equivalent` says why."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Room:
    """What is built and run: programs in the build folder's bin/, with arguments and variables."""

    targets: tuple
    runs: tuple  # of (program, argument...), "NAME=value" words before the program go into its environment


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str
    equivalent: str = ""

    @property
    def room(self):
        return self.name.split(".")[0]


# The committed fixtures of the parity tests: one model's modules, bit for bit.
GOLDEN = ("W2VBERT_FIXTURES={root}/tests/data/golden", "W2VBERT_GOLDEN=1", "parity_test")
GOLDEN_FEATURES = ("W2VBERT_FEATURE_FIXTURES={root}/tests/data/features", "feature_parity_test",
                   "--gtest_filter=FeatureParity.EveryClipGivesTheValuesOfTransformers")


def room(*targets, filters=None, also=()):
    filters = filters or {}
    runs = tuple((target, f"--gtest_filter={filters[target]}") if target in filters else (target,)
                 for target in targets)
    return Room(targets + tuple(word for run in also for word in run if word.endswith("_test")), runs + tuple(also))


ROOMS = {
    "core": room("durable_file_test", "threads_test", "error_test", "file_test", "json_test", "numpy_random_test"),
    "checkpoint": room("safetensors_header_test", "checkpoint_index_test", "safetensors_writer_test", "load_test",
                       "checkpoint_test", "save_pretrained_test"),
    "features": room("feature_extractor_test", also=(GOLDEN_FEATURES,)),
    "nn": room("nn_test", also=(GOLDEN,)),
    "models": room("models_test"),
    "kernels": room("kernels_test"),
    "engine": room("engine_test", filters={"engine_test": "FusedEngine.*:Fuse.*:ReferenceEngineTest.*:ChooseEngine.*:"
                                                          "MakeEngine.*:*LoadFused*"}),
    "audio": room("resample_test", "audio_file_test"),
    "corpus": room("tool_test", filters={"tool_test": "InputList.*:Manifest*:*Partition*:StableHash.*"}),
    "store": room("tool_test", filters={"tool_test": "Journal*:NpyHeader.*:Shards.*:StatusOfARun.*:*VerifiedRun.*:"
                                                     "Fingerprint.*:Sha256.*"}),
    "run": room("tool_test", filters={"tool_test": "Reader.*:OutputWriter.*:Chunks.*:MessageOf.*"}),
}

MUTANTS = (
    # core
    Mutant("core.numpy-draw-of-one-bit-less", "src/core/numpy_random.cpp",
           "static_cast<std::uint32_t>(engine_()) >> 6", "static_cast<std::uint32_t>(engine_()) >> 7"),
    Mutant("core.numpy-interval-without-its-end", "src/core/numpy_random.cpp", "if (value <= most) return value;",
           "if (value < most || most == 0) return value;"),
    Mutant("core.controls-of-c1-pass", "src/core/text.cpp", "static_cast<std::uint8_t>(character[1]) < 0xA0",
           "static_cast<std::uint8_t>(character[1]) < 0x80"),
    Mutant("core.surrogates-are-utf8", "src/core/text.cpp", "lead == 0xED ? 0x9F : 0xBF",
           "lead == 0xED ? 0xBF : 0xBF"),
    Mutant("core.quota-rounded-down", "src/core/threads.cpp", "std::ceil(static_cast<double>(*quota)",
           "std::floor(static_cast<double>(*quota)"),
    Mutant("core.cached-files-count-as-used", "src/core/memory.cpp", "*limit - *used + cached", "*limit - *used"),
    Mutant("core.replaces-what-differs", "src/core/durable_file.cpp", "if (!are_equal(path_, temporary_)) {",
           "if (false) {"),
    Mutant("core.old-temporaries-stay", "src/core/durable_file.cpp", "if ((candidate.dead || old) &&",
           "if (candidate.dead &&"),
    Mutant("core.a-read-forgets-where-it-is", "src/core/file.cpp",
           "    offset += static_cast<std::uint64_t>(got);\n", ""),
    Mutant("core.changes-of-size-pass", "src/core/file.cpp",
           "static_cast<std::uint64_t>(now.st_size) != size_ || ", ""),
    Mutant("core.what-cannot-be-examined-is-absent", "src/core/file.cpp",
           '  if (!means_absent(errno)) fail(path, system_message("cannot be examined", errno));\n', "  (void)fail;\n"),

    # checkpoint
    Mutant("checkpoint.four-bits-take-a-byte", "src/checkpoint/safetensors_header.cpp", 'DtypeBits{"F4", 4}',
           'DtypeBits{"F4", 8}'),
    Mutant("checkpoint.shards-one-tensor-larger", "src/checkpoint/checkpoint_index.cpp",
           "if (sizes[i] > max_shard_size - current_size) {", "if (current_size > max_shard_size) {"),
    Mutant("checkpoint.shard-files-in-other-folders", "src/checkpoint/checkpoint_index.cpp",
           'std::string_view("/\\\\\\n\\0", 4)', 'std::string_view("\\\\\\n\\0", 3)'),
    Mutant("checkpoint.shard-numbers-from-zero", "src/checkpoint/checkpoint_index.cpp",
           'name += "-" + padded(shard + 1)', 'name += "-" + padded(shard)'),
    Mutant("checkpoint.header-not-aligned", "src/checkpoint/safetensors_header_writer.cpp",
           "(std::max(header.size(), least) + kAlignment - 1) / kAlignment * kAlignment",
           "std::max(header.size(), least)"),
    Mutant("checkpoint.names-given-twice", "src/checkpoint/safetensors_header_writer.cpp",
           "  refuse_equal_names(sorted, &TensorInfo::name, path);\n", ""),
    Mutant("checkpoint.small-elements-first", "src/checkpoint/safetensors_writer.cpp",
           "return size_a != size_b ? size_a > size_b : a.name < b.name;",
           "return size_a != size_b ? size_a < size_b : a.name < b.name;"),
    Mutant("checkpoint.strides-ignored", "src/checkpoint/safetensors_writer.cpp",
           "tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()",
           "tensor.detach().cpu().resolve_conj().resolve_neg()"),
    Mutant("checkpoint.tables-are-saved", "src/checkpoint/state_dict.cpp",
           "if (dynamic_cast<const NonPersistentBuffers*>(&module) == nullptr) {", "{"),

    # features
    Mutant("features.preemphasis", "src/features/seamless_m4t_feature_extractor.cpp", "kPreemphasis = 0.97",
           "kPreemphasis = 0.95"),
    Mutant("features.mean-of-a-frame-stays", "src/features/seamless_m4t_feature_extractor.cpp",
           "for (double& value : centred) value -= mean;", "(void)mean;"),
    Mutant("features.variance-over-all-frames", "src/features/seamless_m4t_feature_extractor.cpp",
           "std::max<std::int64_t>(frames - 1, 0)", "std::max<std::int64_t>(frames, 0)"),
    Mutant("features.mask-of-first-frames", "src/features/seamless_m4t_feature_extractor.cpp",
           "(count + stride - 2) / stride", "(count + stride - 1) / stride"),
    Mutant("features.no-mel-floor", "src/features/seamless_m4t_feature_extractor.cpp",
           "sums[lane] < kMelFloor ? kMelFloor : sums[lane]", "sums[lane]"),

    # nn
    Mutant("nn.ffn1-at-full-weight", "src/nn/encoder_layer.cpp",
           "hidden_states = ffn1(hidden_states);\n  hidden_states = hidden_states * 0.5 + residual;",
           "hidden_states = ffn1(hidden_states);\n  hidden_states = hidden_states + residual;"),
    Mutant("nn.norms-swapped", "src/nn/encoder_layer.cpp", "hidden_states = ffn2_layer_norm(hidden_states);",
           "hidden_states = self_attn_layer_norm(hidden_states);"),
    Mutant("nn.no-final-norm", "src/nn/encoder_layer.cpp", "  hidden_states = final_layer_norm(hidden_states);\n",
           ""),
    Mutant("nn.no-activation", "src/nn/feed_forward.cpp",
           "  hidden_states = intermediate_act_fn(hidden_states);\n", ""),
    Mutant("nn.padding-in-the-middle", "src/nn/convolution_module.cpp",
           "constant_pad_nd(hidden_states, {left, 0})",
           "constant_pad_nd(hidden_states, {left / 2, left - left / 2})"),
    Mutant("nn.padding-reaches-the-convolution", "src/nn/convolution_module.cpp",
           "  hidden_states = zero_padded_frames(hidden_states, padded);\n", ""),
    Mutant("nn.no-depthwise-norm", "src/nn/convolution_module.cpp",
           "depthwise_layer_norm(hidden_states.transpose(1, 2)).transpose(1, 2)", "hidden_states"),
    Mutant("nn.distance-the-other-way", "src/nn/self_attention.cpp",
           "positions.view({1, -1}) - positions.view({-1, 1})",
           "positions.view({-1, 1}) - positions.view({1, -1})"),
    Mutant("nn.positions-not-scaled", "src/nn/self_attention.cpp",
           'torch::einsum("bhld,lrd->bhlr", {query, embedding}) * scaling_',
           'torch::einsum("bhld,lrd->bhlr", {query, embedding})'),
    Mutant("nn.distances-clipped-one-too-far", "src/nn/self_attention.cpp", "torch::clamp(distance, -left, right)",
           "torch::clamp(distance, -left, right - 1)"),
    Mutant("nn.values-from-keys", "src/nn/self_attention.cpp", "to_heads(linear_v(hidden_states))",
           "to_heads(linear_k(hidden_states))"),
    Mutant("nn.eager-without-mask", "src/nn/self_attention.cpp",
           "  if (attention_mask.defined()) weights = weights + attention_mask;\n", ""),
    Mutant("nn.rotation-backwards", "src/nn/self_attention.cpp",
           "torch::cat({-rotated_states_end, rotated_states_begin}, -1)",
           "torch::cat({rotated_states_end, -rotated_states_begin}, -1)"),
    Mutant("nn.relative-bias-of-the-keys", "src/nn/self_attention.cpp",
           "query + pos_bias_v.unsqueeze(0).unsqueeze(2)", "query + pos_bias_u.unsqueeze(0).unsqueeze(2)"),
    Mutant("nn.table-reversed", "src/nn/relative_positional_embedding.cpp", "torch::flip(positive, {0})",
           "positive"),
    Mutant("nn.features-not-normalised", "src/nn/feature_projection.cpp",
           "const auto norm_hidden_states = layer_norm(hidden_states);",
           "const auto norm_hidden_states = hidden_states;"),
    Mutant("nn.encoder-sees-padding", "src/nn/encoder.cpp",
           "  hidden_states = zero_padded_frames(hidden_states, padded);\n", ""),
    Mutant("nn.last-state-missing", "src/nn/encoder.cpp",
           "    if (output_hidden_states) output.hidden_states.push_back(hidden_states);\n", ""),
    Mutant("nn.spans-beyond-the-clip", "src/nn/spec_augment.cpp", "random.choice(population, spans)",
           "random.choice(length - (mask_length - 1), spans)"),

    # models
    Mutant("models.ffn-before-the-adapter-at-full-weight", "src/models/wav2vec2_bert_model.cpp",
           "intermediate_ffn(hidden_states) * 0.5", "intermediate_ffn(hidden_states)"),
    Mutant("models.adapter-left-out", "src/models/wav2vec2_bert_model.cpp",
           "  if (!adapter.is_empty()) hidden_states = adapter(hidden_states, attention_mask);\n", ""),
    Mutant("models.state-not-normalised-by-its-root", "src/models/semantic_encoder.cpp",
           "(state - mean) / torch::sqrt(var)", "(state - mean) / var"),
    Mutant("models.pooling-over-padding", "src/models/wav2vec2_bert_for_sequence_classification.cpp",
           "hidden_states.masked_fill(padding_mask.logical_not().unsqueeze(-1), 0.0)", "hidden_states"),
    Mutant("models.weights-of-states-without-softmax", "src/models/head.cpp", "torch::softmax(layer_weights, -1)",
           "layer_weights"),
    Mutant("models.lengths-without-adapter", "src/models/output_lengths.cpp", "config.adapter_kernel_size / 2;",
           "config.adapter_stride / 2;"),
    Mutant("models.first-token-is-padding", "src/models/wav2vec2_bert_for_ctc.cpp",
           "const auto labels_mask = labels >= 0;", "const auto labels_mask = labels >= 1;"),
    Mutant("models.statistics-of-all-frames", "src/models/wav2vec2_bert_for_xvector.cpp",
           "hidden_states[row].slice(0, 0, on_host[row].item<std::int64_t>())", "hidden_states[row]"),

    # engine/kernels
    Mutant("kernels.norm-without-eps", "src/engine/kernels/vector_kernels.cpp",
           "variance / static_cast<float>(width) + eps", "variance / static_cast<float>(width)"),
    Mutant("kernels.norm-forgets-the-rest", "src/engine/kernels/vector_kernels.cpp",
           "    for (std::int64_t i = whole; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);\n", ""),
    Mutant("kernels.residual-left-out", "src/engine/kernels/vector_kernels.cpp",
           "value = load(y + i, count) + value;", "value = value;"),
    Mutant("kernels.glu-without-gate-offset", "src/engine/kernels/vector_kernels.cpp",
           "const Vec gate = load(x + gates + i, count);", "const Vec gate = load(x + i, count);"),
    Mutant("kernels.depthwise-sees-the-clip-before", "src/engine/kernels/vector_kernels.cpp",
           "earliest < 0 ? 0 : earliest", "earliest"),
    Mutant("kernels.band-one-key-short", "src/engine/kernels/vector_kernels.cpp",
           "clamp(block.right + 1 - distance, band_begin, block.columns)",
           "clamp(block.right - distance, band_begin, block.columns)",
           equivalent="the last distance of the band has the number of all keys to the right of it"),
    Mutant("kernels.right-bias-is-the-left", "src/engine/kernels/vector_kernels.cpp",
           "right_bias = relative[block.left + block.right]", "right_bias = relative[0]"),
    Mutant("kernels.sums-of-earlier-blocks-not-scaled", "src/engine/kernels/vector_kernels.cpp",
           "sum += block.row_sum[row] * shrink;", "sum += block.row_sum[row];"),
    Mutant("kernels.behind-the-keys-not-zero", "src/engine/kernels/vector_kernels.cpp",
           "    for (std::int64_t i = block.columns; i < block.padded_columns; ++i) scores[i] = 0.0f;\n", ""),
    Mutant("kernels.bfloat16-cut", "src/engine/kernels/vector_kernels.cpp",
           "(bits + kBelowHalf + (bits >> 16 & 1)) >> 16", "bits >> 16"),
    Mutant("kernels.nan-is-quantized", "src/engine/kernels/vector_kernels.cpp",
           "nans != 0 ? __builtin_nanf(\"\") : largest", "largest"),
    Mutant("kernels.nan-of-a-gate-is-lost", "src/engine/kernels/vector_kernels.cpp",
           "Vec::blendv(sigmoid(gate), gate, gate.isnan())", "sigmoid(gate)"),
    Mutant("kernels.nan-of-a-score-is-lost", "src/engine/kernels/vector_kernels.cpp",
           "largest <= __FLT_MAX__ ? sum : __builtin_nanf(\"\")", "sum"),
    Mutant("kernels.zero-point-added", "src/engine/kernels/vector_kernels.cpp", "sum - zero * column_sum[i]",
           "sum + zero * column_sum[i]"),
    Mutant("kernels.gemm-forgets-the-sum", "src/engine/kernels/vector_kernels.cpp",
           "accumulate ? load(to, n - at) + sums[part] : sums[part]", "sums[part]"),
    Mutant("kernels.values-of-the-keys", "src/engine/kernels/ragged_attention.cpp",
           "group_rows(from + heads_ * stride,", "group_rows(from,"),
    Mutant("kernels.mask-of-the-first-keys", "src/engine/kernels/ragged_attention.cpp",
           "clip.key_bias.data() + key;", "clip.key_bias.data();"),
    Mutant("kernels.distance-of-the-clip", "src/engine/kernels/ragged_attention.cpp",
           "softmax.distance = key - block.first;", "softmax.distance = key;"),
    Mutant("kernels.later-blocks-replace", "src/engine/kernels/ragged_attention.cpp",
           "output, head_size_, key > 0);", "output, head_size_, false);"),

    # engine
    Mutant("engine.no-bias-in-linear-out", "src/engine/fused_encoder.cpp",
           '{.parts = {{"self_attn.linear_out"}}}',
           '{.parts = {{"self_attn.linear_out"}}, .bias = false}'),
    Mutant("engine.norms-swapped", "src/engine/fused_encoder.cpp",
           'self_attn_layer_norm = layer_norm("self_attn_layer_norm")',
           'self_attn_layer_norm = layer_norm("ffn2_layer_norm")'),
    Mutant("engine.padding-reaches-the-convolution", "src/engine/ragged_batch.cpp",
           "if (clip.key_bias[frame] != 0.0f) visit(", "if (clip.key_bias[frame] > 0.0f) visit("),
    Mutant("engine.masks-of-ones-and-zeros-swapped", "src/engine/ragged_batch.cpp",
           "return value ? 0.0f : std::numeric_limits<float>::lowest();",
           "return value ? std::numeric_limits<float>::lowest() : 0.0f;"),
    Mutant("engine.blocks-cross-clips", "src/engine/ragged_batch.cpp", "std::min(size, clip.frames - first)",
           "size"),

    # tool/corpus
    Mutant("corpus.hash-without-its-finish", "src/tool/corpus/partition.cpp", "  return hash ^ (hash >> 33);",
           "  return hash;"),
    Mutant("corpus.array-steps-ignored", "src/tool/corpus/partition.cpp",
           "return Partition{(task - first) / step, tasks};", "return Partition{task - first, tasks};"),
    Mutant("corpus.hidden-files-have-extensions", "src/tool/corpus/input_list.cpp", "dot <= start ? path",
           "dot < start ? path"),
    Mutant("corpus.names-cut-to-whole-seconds", "src/tool/corpus/input_list.cpp", "std::llround(seconds * 1000)",
           "std::llround(seconds) * 1000"),
    Mutant("corpus.equal-names-pass", "src/tool/corpus/input_list.cpp",
           "if (name(first) != name(second)) continue;", "if (name(first) != name(second) || true) continue;"),
    Mutant("corpus.commands-are-paths", "src/tool/corpus/manifest.cpp",
           "    if (row.ends_with('|')) refuse(\"is a command\");\n", ""),
    Mutant("corpus.negative-seconds-pass", "src/tool/corpus/manifest.cpp", "seconds && *seconds >= 0 &&",
           "seconds &&"),

    # tool/store
    Mutant("store.torn-line-stays", "src/tool/store/journal.cpp",
           "if (end != status.st_size && ::ftruncate(file, end) != 0) {", "if (false) {"),
    Mutant("store.half-a-line-stays", "src/tool/store/journal.cpp",
           "if (known && ::ftruncate(descriptor_.number(), before.st_size) != 0)", "if (!known)"),
    Mutant("store.entries-of-all-workers", "src/tool/store/journal.cpp", "        read.entries_of_last = 0;\n", ""),
    Mutant("store.workers-in-the-order-of-text", "src/tool/store/run_status.cpp",
           "return std::pair(a.partition.count, a.partition.index) <\n"
           "                     std::pair(b.partition.count, b.partition.index);",
           "return a.worker.partition < b.worker.partition;"),
    Mutant("store.inputs-of-some-partitions", "src/tool/store/run_status.cpp",
           "if (latest != journals.end() && begun == latest->partition.count)", "if (latest != journals.end())"),
    Mutant("store.outputs-of-other-runs-pass", "src/tool/store/run_status.cpp",
           "if (problem.empty() && one->scan.fingerprint.value_or(digest) != digest) {", "if (false) {"),
    Mutant("store.workers-of-other-hosts-alive", "src/tool/store/run_status.cpp", "worker.host == host_name() && ",
           ""),
    Mutant("store.npy-not-aligned", "src/tool/store/npy_header.cpp",
           "(kAlignment - unpadded % kAlignment) % kAlignment", "0"),
    Mutant("store.npy-sizes-overflow", "src/tool/store/npy_header.cpp",
           "__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(*size), &product)",
           "(product = bytes * static_cast<std::uint64_t>(*size), false)"),
    Mutant("store.clips-as-they-come", "src/tool/store/output_shards.cpp", "      if (!to_the_end) return;\n", ""),
    Mutant("store.copies-what-changed", "src/tool/store/output_shards.cpp",
           "    if (!problem.empty()) {\n      throw StorageError(path, \"\", \"holds other data than were written\",",
           "    if (false) {\n      throw StorageError(path, \"\", \"holds other data than were written\","),
    Mutant("store.stale-index-stays", "src/tool/store/output_shards.cpp",
           "        stale_.emplace(shard, stored->index);\n", ""),
    Mutant("store.strange-clips-pass", "src/tool/store/output_shards.cpp", "if (names.contains(name)) continue;",
           "continue;"),
    Mutant("store.digest-not-compared", "src/tool/store/run_directory.cpp",
           "written != data_digest(file, data_offset)) {", "written == \"\") {"),

    # tool/run
    Mutant("run.failed-outputs-not-skipped", "src/tool/run/output_writer.cpp",
           "    written.failure = std::current_exception();\n    outputs_.skip(item.index);\n",
           "    written.failure = std::current_exception();\n"),
    Mutant("run.finished-by-each-thread", "src/tool/run/output_writer.cpp",
           "if (working_.fetch_sub(1) == 1) outputs_.finish();", "working_.fetch_sub(1), outputs_.finish();"),
    Mutant("run.reported-out-of-order", "src/tool/run/output_writer.cpp",
           "while (!written_.empty() && written_.begin()->first == taken_) {", "while (!written_.empty()) {"),
    Mutant("run.storage-errors-are-one-clips", "src/tool/run/output_writer.cpp",
           "  } catch (const StorageError&) {\n    throw;\n", ""),
    Mutant("run.short-clips-pass", "src/tool/run/clip_reader.cpp", "if (clip.samples < kMinSamples) {",
           "if (clip.samples + 1 < kMinSamples) {"),
    Mutant("run.parts-of-the-last-file", "src/tool/run/clip_reader.cpp", "if (decoded.path != path) {",
           "if (decoded.path.empty()) {"),
    Mutant("run.batches-of-any-size", "src/tool/run/clip_reader.cpp",
           "    max_frames -= std::max<std::int64_t>(1, clip->frames());\n", ""),
    Mutant("run.failures-without-index", "src/tool/run/clip_reader.cpp", "    clip.index = pending_[i];\n", ""),
    Mutant("run.chunks-keep-their-overlap", "src/tool/run/chunking.cpp", "begin + (left.end - begin) / 2", "begin"),

    # checks at the edges
    Mutant("core.choices-beyond-the-population", "src/core/numpy_random.cpp",
           "count < 0 || count > population || population > kMaxPopulation", "count < 0"),
    Mutant("audio.rates-unchecked", "src/audio/resample.cpp",
           "if (from_hz >= 1 && to_hz >= 1) return;", "return;"),
    Mutant("audio.samples-of-the-default-dtype", "src/audio/resample.cpp",
           "{1, 1, length}, torch::kFloat)", "{1, 1, length})"),
    Mutant("checkpoint.floats-into-integers", "src/checkpoint/load.cpp",
           "return is_integer_dtype(dtype_name) ? \"\" : kIntegerDtypes;", "return \"\";"),
    Mutant("checkpoint.warning-in-the-default-dtype", "src/checkpoint/load.cpp",
           "/ info.shape[0], at::kFloat)", "/ info.shape[0])"),
    Mutant("nn.clone-loses-the-padding", "src/nn/conv1d.cpp",
           "    copy->_reversed_padding_repeated_twice = _reversed_padding_repeated_twice;\n", ""),
    Mutant("nn.bias-before-the-sum", "src/nn/conv1d.cpp", "(dilation == 1 ? last : first)", "first"),
    Mutant("nn.even-kernel-padded-on-the-left", "src/nn/conv1d.cpp",
           "torch::constant_pad_nd(input, {0, 1})", "torch::constant_pad_nd(input, {1, 0})"),
    Mutant("nn.config-unchecked", "src/nn/check_config.h", "  config.validate();\n", ""),
    Mutant("models.labels-ignored", "src/models/any_model.cpp",
           "refuse_input(inputs.labels, \"labels\", class_name);", ""),
    Mutant("models.head-stops-early", "src/models/head.cpp",
           "TORCH_CHECK_VALUE(!options.stop_after,", "TORCH_CHECK_VALUE(true,"),
    Mutant("models.statistics-unchecked", "src/models/semantic_encoder.cpp",
           "TORCH_CHECK_VALUE(good.all().item<bool>(),", "TORCH_CHECK_VALUE(true,"),
    Mutant("engine.bfloat16-model-fused", "src/engine/fuse.cpp",
           "values.scalar_type() == at::kFloat && values.device().is_cpu()", "values.device().is_cpu()"),
    Mutant("engine.weights-of-another-shape", "src/engine/fuse.cpp",
           "if (shape != expected) {", "if (shape.size() != expected.size()) {"),
    Mutant("engine.layer-lost-unseen", "src/engine/fused_encoder.cpp",
           "TORCH_CHECK_VALUE(impl.layers.size() == static_cast<std::size_t>(impl.config.num_hidden_layers),",
           "TORCH_CHECK_VALUE(true,"),
    Mutant("engine.precision-of-a-choice-ignored", "src/engine/choose_engine.cpp",
           "fused == nullptr || fused->precision() == choice.precision", "true"),
    Mutant("engine.mask-of-one-frame", "src/engine/engine_inputs.cpp",
           "mask.dim() == 1 && mask.size(0) == features.size(0)", "mask.dim() == 1"),
    Mutant("engine.features-of-one-bin", "src/engine/engine_inputs.cpp",
           "features.size(0) > 0 && features.size(1) == width", "features.size(0) > 0"),
    Mutant("engine.mask-of-a-fused-module-unchecked", "src/engine/fused_module.cpp",
           "return check_attention_mask(attention_mask, \"attention_mask\", hidden_states);",
           "return attention_mask;"),
    Mutant("run.threads-left-running", "src/tool/run/clip_reader.cpp", "    stop();\n    throw;", "    throw;"),
    Mutant("run.error-of-a-reader-lost", "src/tool/run/clip_reader.cpp",
           "    if (error_) std::rethrow_exception(error_);\n", ""),
)
