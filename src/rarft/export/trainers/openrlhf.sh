# OpenRLHF scores beside each vLLM engine; all of them together start as many verifiers as the machine has cores.
export RARFT_REWARD_WORKERS=${RARFT_REWARD_WORKERS:-$((($(getconf _NPROCESSORS_ONLN) + GPUS - 1) / GPUS))}
options=()
[ "$HAS_VALIDATION" = false ] || options+=(--eval.dataset "$HERE/$VALIDATION" --eval.steps 10)

# The prompts are rendered already: no template is applied, and MAX_PROMPT + MAX_NEW holds the longest of them.
exec python -m openrlhf.cli.train_ppo_ray \
  --actor.model_name_or_path "$MODEL" \
  --data.prompt_dataset "$HERE/train.parquet" \
  --data.input_key input \
  --data.label_key label \
  --data.max_len "$((MAX_PROMPT + MAX_NEW))" \
  --rollout.max_new_tokens "$MAX_NEW" \
  --reward.remote_url "$HERE/reward.py" \
  --algo.advantage.estimator group_norm \
  --algo.kl.init_coef 0 \
  --rollout.batch_size "$PROMPTS_PER_STEP" \
  --rollout.n_samples_per_prompt "$SAMPLES" \
  --rollout.temperature "$TEMPERATURE" \
  --train.batch_size "$((PROMPTS_PER_STEP * SAMPLES))" \
  --train.num_episodes "$EPOCHS" \
  --train.colocate_all \
  --actor.adam.lr "$LEARNING_RATE" \
  --actor.num_gpus_per_node "$GPUS" \
  --ref.num_gpus_per_node "$GPUS" \
  --vllm.num_engines "$GPUS" \
  --vllm.tensor_parallel_size 1 \
  --vllm.gpu_memory_utilization 0.6 \
  --vllm.enable_sleep \
  --ds.enable_sleep \
  --ckpt.output_dir "$OUT/model" \
  --ckpt.path "$OUT/checkpoints" \
  ${options[@]+"${options[@]}"} "$@"
