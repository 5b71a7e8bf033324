options=()
[ "$HAS_VALIDATION" = true ] || options+=(trainer.eval_interval=-1 trainer.eval_before_train=false)
for pair in ${TEMPLATE_OPTIONS[@]+"${TEMPLATE_OPTIONS[@]}"}; do
  options+=("generator.chat_template_kwargs.$pair")
done
if [ "$PLAIN" = true ]; then  # SkyRL reads model and tokenizer from one folder: the model's files, our tokenizer's
  [ -d "$MODEL" ] || { echo "run.sh: plain prompts need the model as a local folder; set MODEL" >&2; exit 2; }
  mkdir -p "$OUT/policy"
  ln -sf "$(cd "$MODEL" && pwd)"/* "$OUT/policy/"
  rm -f "$OUT"/policy/{tokenizer*,chat_template*,special_tokens_map.json}
  ln -sf "$HERE"/tokenizer/* "$OUT/policy/"
  MODEL=$OUT/policy
fi

cd "$HERE"
exec python reward.py \
  data.train_data="['$HERE/train.parquet']" \
  data.val_data="['$HERE/$VALIDATION']" \
  environment.env_class=rarft \
  trainer.algorithm.advantage_estimator=grpo \
  trainer.algorithm.use_kl_loss=false \
  trainer.policy.model.path="$MODEL" \
  trainer.policy.optimizer_config.lr="$LEARNING_RATE" \
  trainer.placement.colocate_all=true \
  trainer.placement.policy_num_gpus_per_node="$GPUS" \
  trainer.placement.ref_num_gpus_per_node="$GPUS" \
  trainer.epochs="$EPOCHS" \
  trainer.train_batch_size="$PROMPTS_PER_STEP" \
  trainer.policy_mini_batch_size="$PROMPTS_PER_STEP" \
  trainer.max_prompt_length="$MAX_PROMPT" \
  trainer.logger=console \
  trainer.ckpt_path="$OUT/checkpoints" \
  trainer.export_path="$OUT/exports" \
  trainer.hf_save_interval=50 \
  generator.inference_engine.num_engines="$GPUS" \
  generator.inference_engine.tensor_parallel_size=1 \
  generator.n_samples_per_prompt="$SAMPLES" \
  generator.max_input_length="$MAX_PROMPT" \
  generator.sampling_params.max_generate_length="$MAX_NEW" \
  generator.sampling_params.temperature="$TEMPERATURE" \
  ${options[@]+"${options[@]}"} "$@"
