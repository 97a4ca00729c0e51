/*
 * Sizes, offsets and numbers that programs compiled with this header rely on: none may ever change, new fields and
 * numbers come after them. For C99 and C++ alike, LAYOUT is a static assertion.
 */
#ifndef TIEBREAK_TEST_LAYOUT_H
#define TIEBREAK_TEST_LAYOUT_H

#ifdef __cplusplus
#define LAYOUT(condition) static_assert(condition, #condition)
#else
#define LAYOUT_NAME(line) layout_##line
#define LAYOUT_LINE(condition, line) typedef char LAYOUT_NAME(line)[(condition) ? 1 : -1]
#define LAYOUT_AT(condition, line) LAYOUT_LINE(condition, line)
#define LAYOUT(condition) LAYOUT_AT(condition, __LINE__)
#endif

#define FIELD(type, field, offset) LAYOUT(offsetof(type, field) == (offset))

LAYOUT(TB_ABI_VERSION == 1);
LAYOUT(sizeof(void *) == 8);

LAYOUT(sizeof(tb_view) == 24);
FIELD(tb_view, data, 0);
FIELD(tb_view, shape, 8);
FIELD(tb_view, rank, 16);
FIELD(tb_view, dtype, 20);

LAYOUT(sizeof(tb_view_mut) == 24);
FIELD(tb_view_mut, data, 0);
FIELD(tb_view_mut, shape, 8);
FIELD(tb_view_mut, rank, 16);
FIELD(tb_view_mut, dtype, 20);

LAYOUT(sizeof(tb_engine_options) == 48);
FIELD(tb_engine_options, struct_size, 0);
FIELD(tb_engine_options, device, 8);
FIELD(tb_engine_options, threads, 12);
FIELD(tb_engine_options, adapter, 16);
FIELD(tb_engine_options, log, 24);
FIELD(tb_engine_options, log_user_data, 32);
FIELD(tb_engine_options, memory_limit, 40);

LAYOUT(sizeof(tb_engine_properties) == 536);
FIELD(tb_engine_properties, struct_size, 0);
FIELD(tb_engine_properties, gpu, 8);
FIELD(tb_engine_properties, gpu_f16, 12);
FIELD(tb_engine_properties, threads, 16);
FIELD(tb_engine_properties, name, 20);
FIELD(tb_engine_properties, driver, 276);

LAYOUT(sizeof(tb_memory_use) == 40);
FIELD(tb_memory_use, struct_size, 0);
FIELD(tb_memory_use, host_bytes, 8);
FIELD(tb_memory_use, host_peak, 16);
FIELD(tb_memory_use, device_bytes, 24);
FIELD(tb_memory_use, device_peak, 32);

LAYOUT(sizeof(tb_kink) == 56);
FIELD(tb_kink, struct_size, 0);
FIELD(tb_kink, kind, 8);
FIELD(tb_kink, jacobian, 12);
FIELD(tb_kink, composition, 16);
FIELD(tb_kink, reserved, 20);
FIELD(tb_kink, beta, 24);
FIELD(tb_kink, seed, 32);
FIELD(tb_kink, alpha, 40);
FIELD(tb_kink, at_zero, 48);

LAYOUT(sizeof(tb_conv2d_options) == 80);
FIELD(tb_conv2d_options, struct_size, 0);
FIELD(tb_conv2d_options, stride, 8);
FIELD(tb_conv2d_options, padding, 24);
FIELD(tb_conv2d_options, dilation, 40);
FIELD(tb_conv2d_options, groups, 56);
FIELD(tb_conv2d_options, kernel, 64);

LAYOUT(sizeof(tb_pool2d_options) == 56);
FIELD(tb_pool2d_options, struct_size, 0);
FIELD(tb_pool2d_options, kernel, 8);
FIELD(tb_pool2d_options, stride, 24);
FIELD(tb_pool2d_options, padding, 40);

LAYOUT(sizeof(tb_batchnorm_options) == 24);
FIELD(tb_batchnorm_options, struct_size, 0);
FIELD(tb_batchnorm_options, eps, 8);
FIELD(tb_batchnorm_options, momentum, 16);

LAYOUT(sizeof(tb_parameter_group) == 32);
FIELD(tb_parameter_group, struct_size, 0);
FIELD(tb_parameter_group, names, 8);
FIELD(tb_parameter_group, learning_rate_factor, 16);
FIELD(tb_parameter_group, weight_decay, 24);

LAYOUT(sizeof(tb_optimizer_options) == 144);
FIELD(tb_optimizer_options, struct_size, 0);
FIELD(tb_optimizer_options, algorithm, 8);
FIELD(tb_optimizer_options, nesterov, 12);
FIELD(tb_optimizer_options, amsgrad, 16);
FIELD(tb_optimizer_options, centered, 20);
FIELD(tb_optimizer_options, learning_rate, 24);
FIELD(tb_optimizer_options, weight_decay, 32);
FIELD(tb_optimizer_options, momentum, 40);
FIELD(tb_optimizer_options, dampening, 48);
FIELD(tb_optimizer_options, betas, 56);
FIELD(tb_optimizer_options, alpha, 72);
FIELD(tb_optimizer_options, eps, 80);
FIELD(tb_optimizer_options, groups, 88);
FIELD(tb_optimizer_options, group_count, 96);
FIELD(tb_optimizer_options, clip_norm, 104);
FIELD(tb_optimizer_options, grad_scaler, 112);
FIELD(tb_optimizer_options, growth_interval, 116);
FIELD(tb_optimizer_options, loss_scale, 120);
FIELD(tb_optimizer_options, growth_factor, 128);
FIELD(tb_optimizer_options, backoff_factor, 136);

LAYOUT(sizeof(tb_tensor_properties) == 248);
FIELD(tb_tensor_properties, struct_size, 0);
FIELD(tb_tensor_properties, name, 8);
FIELD(tb_tensor_properties, kind, 136);
FIELD(tb_tensor_properties, rank, 168);
FIELD(tb_tensor_properties, shape, 176);
FIELD(tb_tensor_properties, dtype, 240);
FIELD(tb_tensor_properties, gpu, 244);

LAYOUT(sizeof(tb_adapter_properties) == 808);
FIELD(tb_adapter_properties, struct_size, 0);
FIELD(tb_adapter_properties, name, 8);
FIELD(tb_adapter_properties, driver, 264);
FIELD(tb_adapter_properties, kind, 520);
FIELD(tb_adapter_properties, f16, 524);
FIELD(tb_adapter_properties, timestamps, 528);
FIELD(tb_adapter_properties, reserved, 532);
FIELD(tb_adapter_properties, largest_buffer, 536);
FIELD(tb_adapter_properties, largest_binding, 544);
FIELD(tb_adapter_properties, unusable, 552);

LAYOUT(sizeof(tb_work) == 24);
FIELD(tb_work, struct_size, 0);
FIELD(tb_work, operations, 8);
FIELD(tb_work, bytes, 16);

LAYOUT(sizeof(tb_kernel_profile) == 224);
FIELD(tb_kernel_profile, struct_size, 0);
FIELD(tb_kernel_profile, layer, 8);
FIELD(tb_kernel_profile, kernel, 136);
FIELD(tb_kernel_profile, seconds, 200);
FIELD(tb_kernel_profile, operations, 208);
FIELD(tb_kernel_profile, bytes, 216);

LAYOUT(sizeof(tb_dataset_options) == 48);
FIELD(tb_dataset_options, struct_size, 0);
FIELD(tb_dataset_options, image_size, 8);
FIELD(tb_dataset_options, limit_per_class, 16);
FIELD(tb_dataset_options, limit, 24);
FIELD(tb_dataset_options, resize, 32);
FIELD(tb_dataset_options, from_files, 40);
FIELD(tb_dataset_options, reserved, 44);

LAYOUT(sizeof(tb_dataset_properties) == 248);
FIELD(tb_dataset_properties, struct_size, 0);
FIELD(tb_dataset_properties, count, 8);
FIELD(tb_dataset_properties, classes, 16);
FIELD(tb_dataset_properties, shape, 24);
FIELD(tb_dataset_properties, name, 48);
FIELD(tb_dataset_properties, fingerprint, 176);
FIELD(tb_dataset_properties, reserved, 180);
FIELD(tb_dataset_properties, mean, 184);
FIELD(tb_dataset_properties, std, 216);

LAYOUT(sizeof(tb_augmentation) == 72);
FIELD(tb_augmentation, struct_size, 0);
FIELD(tb_augmentation, crop_padding, 8);
FIELD(tb_augmentation, horizontal_flip, 16);
FIELD(tb_augmentation, resized_crop, 20);
FIELD(tb_augmentation, seed, 24);
FIELD(tb_augmentation, epoch, 32);
FIELD(tb_augmentation, scale, 40);
FIELD(tb_augmentation, ratio, 56);

LAYOUT(sizeof(tb_epoch_report) == 32);
FIELD(tb_epoch_report, struct_size, 0);
FIELD(tb_epoch_report, loss, 8);
FIELD(tb_epoch_report, steps, 16);
FIELD(tb_epoch_report, skipped, 24);

LAYOUT(sizeof(tb_zoo_options) == 64);
FIELD(tb_zoo_options, struct_size, 0);
FIELD(tb_zoo_options, classes, 8);
FIELD(tb_zoo_options, batch_norm, 12);
FIELD(tb_zoo_options, base_width, 16);
FIELD(tb_zoo_options, hidden, 20);
FIELD(tb_zoo_options, input_shape, 32);
FIELD(tb_zoo_options, variant, 56);

LAYOUT(sizeof(tb_graph_properties) == 40);
FIELD(tb_graph_properties, struct_size, 0);
FIELD(tb_graph_properties, layer_count, 8);
FIELD(tb_graph_properties, input_shape, 16);

LAYOUT(sizeof(tb_network_options) == 32);
FIELD(tb_network_options, struct_size, 0);
FIELD(tb_network_options, precision, 8);
FIELD(tb_network_options, initialization, 16);
FIELD(tb_network_options, seed, 24);

LAYOUT(sizeof(tb_network_properties) == 416);
FIELD(tb_network_properties, struct_size, 0);
FIELD(tb_network_properties, dtype, 8);
FIELD(tb_network_properties, parameter_dtype, 12);
FIELD(tb_network_properties, gpu, 16);
FIELD(tb_network_properties, reserved, 20);
FIELD(tb_network_properties, parameter_count, 24);
FIELD(tb_network_properties, buffer_count, 32);
FIELD(tb_network_properties, layer_count, 40);
FIELD(tb_network_properties, census_count, 48);
FIELD(tb_network_properties, classes, 56);
FIELD(tb_network_properties, allocated_bytes, 64);
FIELD(tb_network_properties, input_shape, 72);
FIELD(tb_network_properties, precision, 96);
FIELD(tb_network_properties, placement, 160);

LAYOUT(sizeof(tb_choice) == 24);
FIELD(tb_choice, alternative, 0);
FIELD(tb_choice, layer, 8);
FIELD(tb_choice, kink, 16);

LAYOUT(sizeof(tb_comparison) == 64);
FIELD(tb_comparison, struct_size, 0);
FIELD(tb_comparison, l1, 8);
FIELD(tb_comparison, l2, 16);
FIELD(tb_comparison, linf, 24);
FIELD(tb_comparison, differing, 32);
FIELD(tb_comparison, losses, 40);
FIELD(tb_comparison, shared_forward, 56);

LAYOUT(sizeof(tb_difference) == 168);
FIELD(tb_difference, struct_size, 0);
FIELD(tb_difference, name, 8);
FIELD(tb_difference, l1, 136);
FIELD(tb_difference, l2, 144);
FIELD(tb_difference, linf, 152);
FIELD(tb_difference, differing, 160);

LAYOUT(sizeof(tb_norms) == 168);
FIELD(tb_norms, struct_size, 0);
FIELD(tb_norms, name, 8);
FIELD(tb_norms, l1, 136);
FIELD(tb_norms, l2, 144);
FIELD(tb_norms, linf, 152);
FIELD(tb_norms, non_finite, 160);

LAYOUT(sizeof(tb_census_entry) == 176);
FIELD(tb_census_entry, struct_size, 0);
FIELD(tb_census_entry, layer, 8);
FIELD(tb_census_entry, kind, 136);
FIELD(tb_census_entry, ties, 140);
FIELD(tb_census_entry, zero, 144);
FIELD(tb_census_entry, zero_alive, 152);
FIELD(tb_census_entry, nonzero, 160);
FIELD(tb_census_entry, nonzero_alive, 168);

LAYOUT(sizeof(tb_tie_classes) == 184);
FIELD(tb_tie_classes, struct_size, 0);
FIELD(tb_tie_classes, layer, 8);
FIELD(tb_tie_classes, windows, 136);
FIELD(tb_tie_classes, nan, 144);
FIELD(tb_tie_classes, untied, 152);
FIELD(tb_tie_classes, masked, 160);
FIELD(tb_tie_classes, structural, 168);
FIELD(tb_tie_classes, accidental, 176);

LAYOUT(sizeof(tb_non_finite) == 672);
FIELD(tb_non_finite, struct_size, 0);
FIELD(tb_non_finite, pass, 8);
FIELD(tb_non_finite, lasts, 12);
FIELD(tb_non_finite, layer, 16);
FIELD(tb_non_finite, operator_name, 144);
FIELD(tb_non_finite, tensor, 272);
FIELD(tb_non_finite, element, 400);
FIELD(tb_non_finite, value, 408);
FIELD(tb_non_finite, cause, 416);

LAYOUT(sizeof(tb_maxpool2d_diagnosis) == 80);
FIELD(tb_maxpool2d_diagnosis, struct_size, 0);
FIELD(tb_maxpool2d_diagnosis, windows, 8);
FIELD(tb_maxpool2d_diagnosis, nan, 16);
FIELD(tb_maxpool2d_diagnosis, untied, 24);
FIELD(tb_maxpool2d_diagnosis, tied_at_zero, 32);
FIELD(tb_maxpool2d_diagnosis, tied_elsewhere, 40);
FIELD(tb_maxpool2d_diagnosis, alive, 48);
FIELD(tb_maxpool2d_diagnosis, predicted_ties_f16, 56);
FIELD(tb_maxpool2d_diagnosis, predicted_ties_bf16, 64);
FIELD(tb_maxpool2d_diagnosis, predicted_ties_f32, 72);

LAYOUT(sizeof(tb_memory_plan) == 56);
FIELD(tb_memory_plan, struct_size, 0);
FIELD(tb_memory_plan, parameters, 8);
FIELD(tb_memory_plan, gradients, 16);
FIELD(tb_memory_plan, activations, 24);
FIELD(tb_memory_plan, scratch, 32);
FIELD(tb_memory_plan, largest, 40);
FIELD(tb_memory_plan, total, 48);

LAYOUT(sizeof(tb_optimizer_properties) == 40);
FIELD(tb_optimizer_properties, struct_size, 0);
FIELD(tb_optimizer_properties, learning_rate, 8);
FIELD(tb_optimizer_properties, loss_scale, 16);
FIELD(tb_optimizer_properties, steps, 24);
FIELD(tb_optimizer_properties, algorithm, 32);

LAYOUT(sizeof(tb_step_report) == 40);
FIELD(tb_step_report, struct_size, 0);
FIELD(tb_step_report, loss, 8);
FIELD(tb_step_report, gradient_norm, 16);
FIELD(tb_step_report, loss_scale, 24);
FIELD(tb_step_report, skipped, 32);

LAYOUT(sizeof(tb_schedule) == 64);
FIELD(tb_schedule, struct_size, 0);
FIELD(tb_schedule, kind, 8);
FIELD(tb_schedule, gamma, 16);
FIELD(tb_schedule, step_size, 24);
FIELD(tb_schedule, milestones, 32);
FIELD(tb_schedule, milestone_count, 40);
FIELD(tb_schedule, t_max, 48);
FIELD(tb_schedule, eta_min, 56);

LAYOUT(sizeof(tb_experiment_properties) == 336);
FIELD(tb_experiment_properties, struct_size, 0);
FIELD(tb_experiment_properties, name, 8);
FIELD(tb_experiment_properties, about, 72);
FIELD(tb_experiment_properties, unit_count, 328);

LAYOUT(sizeof(tb_experiment_result_properties) == 72);
FIELD(tb_experiment_result_properties, struct_size, 0);
FIELD(tb_experiment_result_properties, unit_count, 8);
FIELD(tb_experiment_result_properties, skipped, 16);
FIELD(tb_experiment_result_properties, finished, 24);
FIELD(tb_experiment_result_properties, missing, 32);
FIELD(tb_experiment_result_properties, row_count, 40);
FIELD(tb_experiment_result_properties, column_count, 48);
FIELD(tb_experiment_result_properties, sentence_count, 56);
FIELD(tb_experiment_result_properties, cancelled, 64);
FIELD(tb_experiment_result_properties, reserved, 68);

LAYOUT(sizeof(tb_column_properties) == 152);
FIELD(tb_column_properties, struct_size, 0);
FIELD(tb_column_properties, name, 8);
FIELD(tb_column_properties, kind, 136);
FIELD(tb_column_properties, reserved, 140);
FIELD(tb_column_properties, text_size, 144);

LAYOUT(sizeof(tb_status) == 4 && sizeof(tb_dtype) == 4 && sizeof(tb_device) == 4 && sizeof(tb_log_level) == 4);
LAYOUT(sizeof(tb_kink_kind) == 4 && sizeof(tb_jacobian) == 4 && sizeof(tb_composition) == 4);
LAYOUT(sizeof(tb_pass) == 4);
LAYOUT(sizeof(tb_algorithm) == 4 && sizeof(tb_schedule_kind) == 4 && sizeof(tb_reduction_order) == 4);
LAYOUT(sizeof(tb_node) == sizeof(size_t));

LAYOUT(TB_STATUS_OK == 0 && TB_STATUS_NULL_POINTER == 1 && TB_STATUS_INVALID_HANDLE == 2);
LAYOUT(TB_STATUS_INVALID_ARGUMENT == 3 && TB_STATUS_SHAPE_MISMATCH == 4 && TB_STATUS_DTYPE_MISMATCH == 5);
LAYOUT(TB_STATUS_NOT_FOUND == 6 && TB_STATUS_IO == 7 && TB_STATUS_FORMAT == 8 && TB_STATUS_UNSUPPORTED == 9);
LAYOUT(TB_STATUS_DEVICE == 10 && TB_STATUS_DEVICE_LOST == 11 && TB_STATUS_OUT_OF_MEMORY == 12);
LAYOUT(TB_STATUS_CANCELLED == 13 && TB_STATUS_PANIC == 255);
LAYOUT(TB_DTYPE_F16 == 1 && TB_DTYPE_F32 == 2 && TB_DTYPE_F64 == 3 && TB_DTYPE_BYTE == 4 && TB_DTYPE_TENSOR == 16);
LAYOUT(TB_TIES_TENSOR == (size_t)1 << 62);
LAYOUT(TB_ADAPTER_OTHER == 0 && TB_ADAPTER_DISCRETE == 1 && TB_ADAPTER_INTEGRATED == 2);
LAYOUT(TB_ADAPTER_VIRTUAL == 3 && TB_ADAPTER_SOFTWARE == 4);
LAYOUT(TB_DEVICE_AUTO == 0 && TB_DEVICE_CPU == 1 && TB_DEVICE_GPU == 2);
LAYOUT(TB_LOG_LEVEL_WARNING == 1 && TB_LOG_LEVEL_INFO == 2);
LAYOUT(TB_KINK_MAXPOOL == 0 && TB_KINK_RELU == 1 && TB_KINK_NORM_POOL == 2);
LAYOUT(TB_JACOBIAN_NATIVE == 0 && TB_JACOBIAN_LAST == 1 && TB_JACOBIAN_MINIMAL == 2 && TB_JACOBIAN_BETA == 3);
LAYOUT(TB_JACOBIAN_RANDOM == 4 && TB_JACOBIAN_FIRST_COLUMN == 5 && TB_JACOBIAN_ALL == 6 && TB_JACOBIAN_SCALED == 7);
LAYOUT(TB_COMPOSITION_EXACT == 0 && TB_COMPOSITION_SPLIT == 1 && TB_COMPOSITION_COUPLED == 2);
LAYOUT(TB_COMPOSITION_FORWARD == 3);
LAYOUT(TB_PASS_FORWARD == 0 && TB_PASS_LOSS == 1 && TB_PASS_BACKWARD == 2 && TB_PASS_OPTIMIZER == 3);
LAYOUT(TB_ALGORITHM_SGD == 0 && TB_ALGORITHM_ADAM == 1 && TB_ALGORITHM_ADAMW == 2 && TB_ALGORITHM_RMS_PROP == 3);
LAYOUT(TB_GRAPH_INPUT == 0 && TB_REDUCTION_ORDER_FIXED == 0 && TB_REDUCTION_ORDER_SEEDED == 1);
LAYOUT(TB_SCHEDULE_CONSTANT == 0 && TB_SCHEDULE_STEP == 1 && TB_SCHEDULE_MULTI_STEP == 2);
LAYOUT(TB_SCHEDULE_EXPONENTIAL == 3 && TB_SCHEDULE_COSINE == 4);
LAYOUT(TB_COLUMN_NUMBERS == 0 && TB_COLUMN_INTEGERS == 1 && TB_COLUMN_TEXTS == 2);

#endif
