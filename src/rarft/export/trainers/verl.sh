# verl scores in 8 processes, each of which would start as many verifiers as the machine has cores.
workers=${RARFT_REWARD_WORKERS:-$((($(getconf _NPROCESSORS_ONLN) + 7) / 8))}
options=()
[ "$SHUFFLE" = true ] || options+=(data.shuffle=False)
[ "$PLAIN" = false ] || options+=(actor_rollout_ref.model.tokenizer_path="$HERE/tokenizer")
for pair in ${TEMPLATE_OPTIONS[@]+"${TEMPLATE_OPTIONS[@]}"}; do
  options+=("+data.apply_chat_template_kwargs.$pair")
done

# Prompts were measured: none is longer than MAX_PROMPT, so none is filtered or cut.
exec python -m verl.trainer.main_ppo \
  algorithm.adv_estimator=grpo \
  algorithm.use_kl_in_reward=False \
  data.train_files="$HERE/train.parquet" \
  data.val_files="$HERE/$VALIDATION" \
  data.train_batch_size="$PROMPTS_PER_STEP" \
  data.max_prompt_length="$MAX_PROMPT" \
  data.max_response_length="$MAX_NEW" \
  data.filter_overlong_prompts=False \
  data.truncation=error \
  actor_rollout_ref.model.path="$MODEL" \
  actor_rollout_ref.actor.optim.lr="$LEARNING_RATE" \
  actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS_PER_STEP" \
  actor_rollout_ref.actor.use_dynamic_bsz=True \
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu="$((2 * (MAX_PROMPT + MAX_NEW)))" \
  actor_rollout_ref.actor.use_kl_loss=False \
  actor_rollout_ref.rollout.name=vllm \
  actor_rollout_ref.rollout.n="$SAMPLES" \
  actor_rollout_ref.rollout.temperature="$TEMPERATURE" \
  actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
  reward.custom_reward_function.path="$HERE/reward.py" \
  reward.custom_reward_function.name=compute_score \
  "+ray_kwargs.ray_init.runtime_env.env_vars.RARFT_REWARD_WORKERS='$workers'" \
  trainer.n_gpus_per_node="$GPUS" \
  trainer.nnodes="${NODES:-1}" \
  trainer.total_epochs="$EPOCHS" \
  trainer.val_before_train="$HAS_VALIDATION" \
  trainer.test_freq="$([ "$HAS_VALIDATION" = true ] && echo 10 || echo -1)" \
  trainer.save_freq=50 \
  trainer.logger='["console"]' \
  trainer.project_name=rarft \
  trainer.experiment_name="$(basename "$HERE")" \
  trainer.default_local_dir="$OUT" \
  ${options[@]+"${options[@]}"} "$@"
