options=()
[ "$SHUFFLE" = true ] || options+=(--shuffle_dataset false)
[ "$HAS_VALIDATION" = false ] || options+=(--eval_strategy steps --eval_steps 10)
[ "$TEMPLATE_JSON" = "{}" ] || options+=(--chat_template_kwargs "$TEMPLATE_JSON")
rows=$((PROMPTS_PER_STEP * SAMPLES / GPUS))
micro=${MICRO_BATCH:-$((rows % SAMPLES == 0 ? SAMPLES : rows))}
if [ $((PROMPTS_PER_STEP * SAMPLES % GPUS)) -ne 0 ] || [ $((rows % micro)) -ne 0 ]; then
  echo "run.sh: $PROMPTS_PER_STEP x $SAMPLES samples a step on $GPUS devices are no whole number of batches of $micro" >&2
  exit 2
fi

cd "$HERE"  # TRL finds reward.py here
exec trl grpo \
  --model_name_or_path "$MODEL" \
  --dataset_name "$HERE" \
  --dataset_test_split validation \
  --reward_funcs reward.reward \
  --output_dir "$OUT" \
  --num_generations "$SAMPLES" \
  --per_device_train_batch_size "$micro" \
  --per_device_eval_batch_size "$SAMPLES" \
  --gradient_accumulation_steps "$((rows / micro))" \
  --max_completion_length "$MAX_NEW" \
  --temperature "$TEMPERATURE" \
  --learning_rate "$LEARNING_RATE" \
  --lr_scheduler_type constant \
  --beta 0 \
  --loss_type grpo \
  --num_train_epochs "$EPOCHS" \
  --logging_steps 1 \
  --report_to none \
  ${options[@]+"${options[@]}"} "$@"
